# shellcheck shell=bash disable=SC2034,SC2154 # shares variables with services.sh
# The same two servers as containers, for machines without the packages.

# run_container NAME PORT ARGUMENTS...: the engine chooses the port on our side.
run_container() {
  local name=$1 port=$2
  shift 2
  started+=("$name")
  rm -f "$dir/$name.container"
  docker run --detach --cidfile "$dir/$name.container" --publish "127.0.0.1::$port" "$@" >/dev/null
}

address() { docker port "$(container "$1")" "$2/tcp" | head -n 1; }

start_postgres_container() {
  # Over TCP, because the image's first, passing server listens on its socket only.
  POSTGRES_PASSWORD=$password run_container postgres 5432 --env POSTGRES_PASSWORD \
    --env POSTGRES_USER=wxpay --env POSTGRES_DB=wxpay postgres:17 -c max_connections=300
  await postgres 60 docker exec "$(container postgres)" pg_isready -q -h 127.0.0.1 -U wxpay \
    || give_up postgres "ended while it started"
  publish WXPAY_DATABASE_URL "postgres://wxpay:$password@$(address postgres 5432)/wxpay"
}

start_rabbitmq_container() {
  RABBITMQ_DEFAULT_PASS=$password run_container rabbitmq 5672 --env RABBITMQ_DEFAULT_PASS \
    --env RABBITMQ_DEFAULT_USER=wxpay rabbitmq:4
  await rabbitmq 120 docker exec "$(container rabbitmq)" rabbitmq-diagnostics -q check_port_connectivity \
    || give_up rabbitmq "ended while it started"
  publish WXPAY_AMQP_URL "amqp://wxpay:$password@$(address rabbitmq 5672)/%2f"
  printf '#!/bin/sh\nexec docker exec -i %s rabbitmqctl "$@"\n' "$(container rabbitmq)" >"$dir/rabbitmqctl"
  chmod 755 "$dir/rabbitmqctl"
}
