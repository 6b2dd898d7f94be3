# shellcheck shell=bash disable=SC2034,SC2154 # shares variables with services.sh
# Which servers are installed, and how the missing ones get here.

# The newest Postgres of at least version 15.
postgres_bin() {
  local path
  path=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
  [ -x "$path" ] && path=${path%/postgres} && [ "$(basename "${path%/bin}")" -ge 15 ] && echo "$path"
}

postgres_is_installed() { postgres_bin >/dev/null; }

# At least RabbitMQ 3.10, the first whose quorum queues expire messages.
rabbitmq_is_installed() {
  local version
  version=$(readlink -f "$rabbitmq_bin/rabbitmq-server" | sed -n 's|.*/rabbitmq_server-\([^/]*\)/.*|\1|p')
  [ -n "$version" ] && printf '%s\n' 3.10 "$version" | sort -CV
}

missing_packages() {
  local -A package=([postgres]=postgresql [rabbitmq]=rabbitmq-server)
  local server
  for server in "${wanted[@]}"; do
    "${server}_is_installed" || echo "${package[$server]}"
  done
}

docker_answers() { timeout 10 docker info >/dev/null 2>&1; }

# Installs packages without letting their services start: a policy-rc.d that says no does that.
install_packages() {
  [ "$EUID" = 0 ] && command -v apt-get >/dev/null || return 1
  say "installing $*"
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  local status=0
  {
    apt-get update \
      && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
  } </dev/null >&2 || status=1
  remove_policy
  return "$status"
}

policy_is_ours=

remove_policy() {
  [ -z "$policy_is_ours" ] || rm -f /usr/sbin/policy-rc.d
  policy_is_ours=
}
