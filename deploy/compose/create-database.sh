#!/bin/sh
# Runs once, when the volume is empty: the service gets a login of its own, which is no superuser. CREATEROLE lets its
# migration make the role that keeps tenants apart.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\set password `cat "${SECRETS:-/run/secrets}/database_password"`
CREATE ROLE audiapro LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE audiapro OWNER audiapro;
SQL
# `docker compose exec db psql` needs no password: in this container the user postgres is the administrator, and whoever
# is not that user, such as the service behind the socket, needs theirs.
printf '%s\n' 'local all postgres peer' "$(cat "$PGDATA/pg_hba.conf")" > "$PGDATA/pg_hba.new"
mv "$PGDATA/pg_hba.new" "$PGDATA/pg_hba.conf"
