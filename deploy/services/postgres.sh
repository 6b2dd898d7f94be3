# shellcheck shell=bash disable=SC2034,SC2154 # shares variables with services.sh
# Postgres from Debian's package.

# psql BIN PORT ARGUMENTS...: without the settings for other servers that a developer may have.
psql() {
  local bin=$1 port=$2
  shift 2
  (
    unset "${!PG@}"
    PGCONNECT_TIMEOUT=5 PGPASSWORD=$password exec "$bin/psql" -h 127.0.0.1 -p "$port" -U wxpay -d postgres -qAtX "$@"
  )
}

# The directory tells our server from another one that was quicker to take the port.
postgres_answers() { [ "$(psql "$1" "$2" -c 'show data_directory')" = "$data/postgres" ]; }

start_postgres() {
  local bin port
  bin=$(postgres_bin)
  if [ ! -f "$data/postgres/PG_VERSION" ]; then
    "${as_server[@]}" "$bin/initdb" --pgdata="$data/postgres" --username=wxpay --pwfile="$data/password" \
      --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >"$dir/postgres.log" 2>&1 \
      || give_up postgres "could not be set up"
  fi
  for _ in 1 2 3; do
    port=$("$root/deploy/free-ports.sh" 1)
    # Nothing here trades durability for speed: tests shall meet the commits that production makes.
    # No socket files: a path longer than 107 bytes would not do, and nobody needs them.
    launch postgres "$bin/postgres" -D "$data/postgres" -c listen_addresses=127.0.0.1 -c "port=$port" \
      -c unix_socket_directories= -c max_connections=300
    if await postgres 60 postgres_answers "$bin" "$port"; then
      psql "$bin" "$port" <<'SQL'
select 'create database wxpay' where not exists (select from pg_database where datname = 'wxpay') \gexec
SQL
      publish WXPAY_DATABASE_URL "postgres://wxpay:$password@127.0.0.1:$port/wxpay"
      return
    fi
  done
  give_up postgres "ended while it started"
}
