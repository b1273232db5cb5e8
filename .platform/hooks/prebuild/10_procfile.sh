#!/bin/bash
# Elastic Beanstalk keeps every line of the Procfile running. `release: flask db upgrade`, which other platforms run once
# before a release, would be started again and again: here migrations are a container command (.ebextensions).
# Runs as root in the application's folder, before the Procfile is read; the same file is a hook of deployments
# (.platform/hooks) and of changes of the configuration (.platform/confighooks).
set -euo pipefail
if [ -e Procfile ]; then
    sed -i '/^release:/d' Procfile
fi
