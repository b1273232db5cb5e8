#!/bin/bash
# Elastic Beanstalk keeps every line of the Procfile running. `release: flask db upgrade`, which other platforms run once
# before a release, would be started again and again: here migrations are a container command (.ebextensions).
# Runs as root in the folder of the new release, before the Procfile is read.
set -euo pipefail
sed -i '/^release:/d' Procfile
