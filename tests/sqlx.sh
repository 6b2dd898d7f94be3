#!/usr/bin/env bash
# Rewrites crates/worker/.sqlx, the queries as Postgres has checked them, from the migrations. With
# --check it changes nothing and fails if the folder is not what the migrations and queries give.
#
# Run it by `make sqlx` or `make lint`.
#
# It works in a database of its own on the server of WXPAY_DATABASE_URL, and drops it afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  '' | --check) mode=${1:-} ;;
  *)
    echo "usage: sqlx.sh [--check]" >&2
    exit 64
    ;;
esac
server=${WXPAY_DATABASE_URL:?run this by: make sqlx}
if ! command -v psql >/dev/null; then
  echo "sqlx: psql is missing: sudo apt-get install postgresql-client" >&2
  exit 1
fi

# Every user of the machine can read arguments, so psql gets the password from its environment.
password=$(sed -nE 's|^[a-z]+://[^:@/]*:([^@/]*)@.*|\1|p' <<<"$server")
if [ -n "$password" ]; then
  PGPASSWORD=$(printf '%b' "${password//%/\\x}")
  export PGPASSWORD
fi
psql() { command psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$@"; }
open() { sed -E 's|^([a-z]+://[^:@/]*):[^@/]*@|\1@|' <<<"$1"; }

name=wxpay_sqlx_$$_$RANDOM
database=$(sed -E "s|^([a-z]+://[^/]*)/[^?]*|\1/$name|" <<<"$server")
mkdir -p target crates/worker/.sqlx
fresh=$(mktemp -d "$PWD/target/sqlx.XXXXXX")
cleanup() {
  psql "$(open "$server")" --command "drop database if exists $name with (force)" || true
  rm -rf "$fresh"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

psql "$(open "$server")" --command "create database $name"
for migration in migrations/*.sql; do
  psql "$(open "$database")" --file "$migration"
done

touch crates/worker/src/lib.rs # or cargo would see no reason to ask the macros again
DATABASE_URL=$database SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh cargo check --locked --package worker

if [ -z "$mode" ]; then
  rm -f crates/worker/.sqlx/*.json
  find "$fresh" -name '*.json' -exec cp --target-directory crates/worker/.sqlx {} +
elif ! diff -r crates/worker/.sqlx "$fresh"; then
  echo "sqlx: crates/worker/.sqlx is out of date: run make sqlx and commit it" >&2
  exit 1
fi
