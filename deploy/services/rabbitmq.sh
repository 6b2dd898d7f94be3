# shellcheck shell=bash disable=SC2034,SC2154 # shares variables with services.sh
# RabbitMQ from Debian's package, whose own commands want to be root or the user rabbitmq; those in
# rabbitmq_bin do not.

rabbitmq_bin=/usr/lib/rabbitmq/bin
# Loopback only, for the broker and for its tools: Erlang listens on every interface unless told.
erlang_loopback='-kernel inet_dist_use_interface {127,0,0,1}'

epmd_answers() { alive epmd && timeout 5 epmd -port "$1" -names >/dev/null; }

rabbitmq_answers() {
  alive epmd && (
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'AMQP\0\0\11\1' >&3
    read -r -t 5 -N 1 -u 3 && [ "$REPLY" = $'\1' ] # a method frame: connection.start
  ) && "$dir/rabbitmqctl" --quiet --timeout 20 await_startup </dev/null >/dev/null
}

start_rabbitmq() {
  local ports amqp dist epmd base=$data/rabbitmq
  "${as_server[@]}" mkdir -p "$base"
  for _ in 1 2 3; do
    mapfile -t ports < <("$root/deploy/free-ports.sh" 3)
    amqp=${ports[0]} dist=${ports[1]} epmd=${ports[2]}
    write rabbitmq/rabbitmq.conf <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp
default_user = wxpay
default_pass = $password
vm_memory_high_watermark.relative = 0.4
disk_free_limit.absolute = 50MB
log.file = false
log.console = true
log.console.level = info
CONF
    echo '[].' | write rabbitmq/enabled_plugins
    # An epmd of our own: one that Erlang starts by itself would outlive the broker.
    stop epmd
    launch epmd epmd -address 127.0.0.1 -port "$epmd"
    await epmd 10 epmd_answers "$epmd" || continue
    write_rabbitmqctl "$epmd"
    launch rabbitmq env "HOME=$base" RABBITMQ_NODENAME=wxpay@localhost "RABBITMQ_DIST_PORT=$dist" \
      ERL_EPMD_ADDRESS=127.0.0.1 "ERL_EPMD_PORT=$epmd" RABBITMQ_CONF_ENV_FILE=/dev/null \
      "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=$erlang_loopback" "RABBITMQ_BASE=$base" \
      "RABBITMQ_MNESIA_BASE=$base/mnesia" "RABBITMQ_LOG_BASE=$base/log" "RABBITMQ_PID_FILE=$base/pid" \
      "RABBITMQ_SCHEMA_DIR=$base/schema" "RABBITMQ_GENERATED_CONFIG_DIR=$base/generated" \
      "RABBITMQ_CONFIG_FILE=$base/rabbitmq.conf" "RABBITMQ_CONFIG_FILES=$base/conf.d" \
      "RABBITMQ_ADVANCED_CONFIG_FILE=$base/advanced.config" \
      "RABBITMQ_ENABLED_PLUGINS_FILE=$base/enabled_plugins" "$rabbitmq_bin/rabbitmq-server"
    if await rabbitmq 120 rabbitmq_answers "$amqp"; then
      publish WXPAY_AMQP_URL "amqp://wxpay:$password@127.0.0.1:$amqp/%2f"
      return
    fi
  done
  give_up rabbitmq "ended while it started"
}

# DIR/rabbitmqctl speaks to this broker, whatever else runs on the machine.
write_rabbitmqctl() {
  cat >"$dir/rabbitmqctl" <<SCRIPT
#!/bin/sh
exec env HOME='$data/rabbitmq' RABBITMQ_NODENAME=wxpay@localhost ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$1 \\
  RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CTL_ERL_ARGS='$erlang_loopback' LANG=C.UTF-8 \\
  $rabbitmq_bin/rabbitmqctl "\$@"
SCRIPT
  chmod 755 "$dir/rabbitmqctl"
}
