# shellcheck shell=bash disable=SC2034,SC2154 # shares variables with services.sh
# Processes that outlive this script: a record of pid and start time names one of them for good.

# The start of process PID in clock ticks since boot, unless it has ended.
start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -ra stat <<<"${stat##*) }" # what follows the name, which may hold spaces
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

alive() {
  local pid since
  [ -f "$dir/$1.process" ] && read -r pid since <"$dir/$1.process" \
    && [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ]
}

container() { cat "$dir/$1.container" 2>/dev/null; }

running() {
  alive "$1" \
    || [ "$(docker inspect --format '{{.State.Running}}' "$(container "$1")" 2>/dev/null)" = true ]
}

interrupted=

# launch NAME COMMAND...: starts a server in a session of its own, where Ctrl-C does not reach it,
# and without our environment, which may hold secrets and other servers' settings.
launch() {
  local name=$1
  shift
  # A signal between the start and its record would leave a server that nobody knows.
  trap 'interrupted=130' INT
  trap 'interrupted=129' HUP
  trap 'interrupted=143' TERM
  started+=("$name")
  setsid "${as_server[@]}" "$@" </dev/null >"$dir/$name.log" 2>&1 &
  echo "$! $(start_time $!)" >"$dir/$name.process"
  catch_signals
  [ -z "$interrupted" ] || exit "$interrupted"
}

catch_signals() {
  trap 'exit 130' INT
  trap 'exit 129' HUP
  trap 'exit 143' TERM
}

# await NAME SECONDS CHECK...: fails if the server ends before CHECK succeeds; too late is the end.
await() {
  local name=$1 seconds=$2
  local deadline=$((SECONDS + seconds))
  shift 2
  until "$@" 2>/dev/null; do
    running "$name" || return 1
    [ "$SECONDS" -lt "$deadline" ] || give_up "$name" "was not ready within $seconds s"
    sleep 0.2
  done
}

give_up() {
  say "$1 $2; the end of its log:"
  if [ -f "$dir/$1.container" ]; then
    docker logs --tail 60 "$(container "$1")" >&2 || true
  else
    tail -n 60 "$dir/$1.log" >&2 || true
  fi
  exit 1
}

# Waits for the end of a process, for 20 s.
ends() {
  for _ in {1..200}; do
    alive "$1" || return 0
    sleep 0.1
  done
  return 1
}

stop() {
  local name=$1 signal=TERM pid
  if alive "$name"; then
    [ "$name" != postgres ] || signal=INT # Postgres: do not wait for clients to leave
    read -r pid _ <"$dir/$name.process"
    kill -s "$signal" "$pid"
    if ! ends "$name"; then
      kill -s KILL -- "-$pid" # the whole session that launch made
      ends "$name"
    fi
  fi
  [ ! -s "$dir/$name.container" ] || docker rm --force --volumes "$(container "$name")" >/dev/null
  rm -f "$dir/$name.process" "$dir/$name.container"
}
