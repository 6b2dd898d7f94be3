#!/usr/bin/env bash
# Private Postgres and RabbitMQ servers for development and tests. They listen on free ports of
# 127.0.0.1 only, under passwords made for them, and keep their data to themselves. A server that
# this script did not start is never touched.
#
#   deploy/services.sh up [DIR]          start what is not running; `source DIR/env` has the addresses
#   deploy/services.sh down [DIR]        stop what `up` has started and delete DIR
#   deploy/services.sh with COMMAND...   run COMMAND beside throw-away servers
#
# DIR is target/services unless given; a relative one is meant from the root of the repository.
# `with` starts only what is missing: a WXPAY_DATABASE_URL or WXPAY_AMQP_URL that is set is used as
# it is. The servers come from Debian's packages, or from containers where a Docker engine runs.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=         # where a pair of servers keeps everything
data_is_new= # this run has made it
wanted=()    # the servers to provide
started=()   # the processes and containers of this run, in order
command_pid=

say() { echo "services: $*" >&2; }

die() {
  say "$*"
  exit 1
}

for part in process data packages postgres rabbitmq containers; do
  # shellcheck source=/dev/null
  source "$root/deploy/services/$part.sh"
done

usage() {
  sed -n '6,8s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 64
}

# Starts those of the wanted servers that are not running.
start_wanted() {
  local missing server
  mapfile -t missing < <(missing_packages)
  if [ "${#missing[@]}" -gt 0 ] && ! install_packages "${missing[@]}" && ! docker_answers; then
    die "please install the servers: sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  make_data
  for server in "${wanted[@]}"; do
    running "$server" && continue
    stop "$server"
    if "${server}_is_installed"; then
      "start_$server"
    elif docker_answers; then
      "start_${server}_container"
    else
      die "the $server of this system is too old; Debian 12 has what is needed"
    fi
  done
}

stop_started() {
  local i
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    stop "${started[i]}"
  done
}

# The last act of `up` when it fails and of `with` always. What was asked for is done by now, or
# was broken off: nothing may break off the cleaning, too.
finish() {
  local status=$?
  set +e
  trap '' INT TERM HUP
  remove_policy
  stop_command "$status"
  if [ "$verb" = with ] || [ "$status" != 0 ]; then
    stop_started
    [ -z "$data_is_new" ] || delete_data
  fi
  exit "$status"
}

# Ctrl-C has reached COMMAND, too, which gets the time to end by itself.
stop_command() {
  local signal
  for signal in TERM KILL; do
    [ -n "$command_pid" ] && kill -0 "$command_pid" 2>/dev/null || return
    if [ "$1" = 130 ] && [ "$signal" = TERM ]; then wait_for_command; fi
    kill -s "$signal" "$command_pid" 2>/dev/null
    wait_for_command
  done
}

wait_for_command() {
  for _ in {1..200}; do
    kill -0 "$command_pid" 2>/dev/null || return
    sleep 0.1
  done
}

up() {
  wanted=(postgres rabbitmq)
  start_wanted
  say "Postgres and RabbitMQ are running; for their addresses: source $dir/env"
}

down() {
  if [ ! -f "$dir/.wxpay-services" ]; then
    say "nothing was started in $dir"
    return
  fi
  started=(postgres epmd rabbitmq)
  stop_started
  delete_data
}

with() {
  wanted=()
  [ -n "${WXPAY_DATABASE_URL:-}" ] || wanted+=(postgres)
  [ -n "${WXPAY_AMQP_URL:-}" ] || wanted+=(rabbitmq)
  if [ "${#wanted[@]}" -gt 0 ]; then
    mkdir -p "$root/target"
    dir=$(mktemp -d "$root/target/services.XXXXXX")
    touch "$dir/.wxpay-services"
    data_is_new=yes
    chmod 711 "$dir"
    start_wanted
    # shellcheck source=/dev/null
    source "$dir/env"
  fi
  # In the background, for a trap waits for what runs in the foreground. The shell would make it
  # deaf to Ctrl-C there, and cut it off from our input.
  env --default-signal=INT,QUIT -- "$@" <&0 &
  command_pid=$!
  local status=0
  wait "$command_pid" || status=$?
  command_pid=
  return "$status"
}

[ $# -gt 0 ] || usage
verb=$1
shift
case $verb in
  up | down)
    [ $# -le 1 ] || usage
    dir=${1:-target/services}
    [[ $dir == /* ]] || dir=$root/$dir
    ;;
  with) [ $# -gt 0 ] || usage ;;
  *) usage ;;
esac
trap finish EXIT
catch_signals
"$verb" "$@"
