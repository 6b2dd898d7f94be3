#!/usr/bin/env bash
# Creates or updates a broker user with the permissions of its role and no others.
#
#   permissions.sh ingress USER PASSWORD_FILE             publish commands and notifications
#   permissions.sh worker  USER PASSWORD_FILE             own the namespace, send replies
#   permissions.sh shop    USER PASSWORD_FILE MCH_ID...   publish commands, receive its merchants' events
#
# Environment: WXPAY_NAMESPACE (wxpay), RABBITMQ_VHOST (/) and RABBITMQCTL (rabbitmqctl). The names
# of a shop's own queues begin with shop.USER.
set -euo pipefail

usage() {
  sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 64
}

[ $# -ge 3 ] || usage
role=$1 user=$2 password_file=$3
shift 3
namespace=${WXPAY_NAMESPACE:-wxpay}
vhost=${RABBITMQ_VHOST:-/}
# Both become parts of regular expressions.
for name in "$namespace" "$user"; do
  if ! [[ $name =~ ^[a-z0-9][a-z0-9_-]{0,39}$ ]] || [ "$namespace" = shop ]; then
    echo "permissions: the namespace or user may only hold a-z, 0-9, _ and -, at most 40: $name" >&2
    exit 64
  fi
done

ctl() { "${RABBITMQCTL:-rabbitmqctl}" --quiet "$@"; }

# rabbitmqctl reads the password from standard input: every user of the machine can read arguments.
set_password() {
  local users verb=add_user
  users=$(ctl list_users --no-table-headers </dev/null | cut -f 1)
  if grep -qxF "$user" <<<"$users"; then
    verb=change_password
  fi
  # Without options: RabbitMQ 4 reads standard input only if there is no further argument.
  head -n 1 "$password_file" | "${RABBITMQCTL:-rabbitmqctl}" "$verb" "$user" >/dev/null
}

# permit CONFIGURE WRITE READ
permit() { ctl set_permissions --vhost "$vhost" "$user" "$1" "$2" "$3"; }

case $role in
  ingress)
    [ $# = 0 ] || usage
    set_password
    # The ingress receives replies by direct reply-to, which needs no permission.
    permit '^$' "^$namespace\.(commands|notify)$" '^$'
    ;;
  worker)
    [ $# = 0 ] || usage
    set_password
    # Replies go through amq.default. The queues of `events listen` are named amq.gen-.
    permit "^($namespace\.|amq\.gen-)" "^($namespace\.|amq\.gen-|amq\.default$)" "^($namespace\.|amq\.gen-)"
    ;;
  shop)
    [ $# -gt 0 ] || usage
    for mch_id in "$@"; do [[ $mch_id =~ ^[0-9]+$ ]] || usage; done
    merchants=$(
      IFS='|'
      echo "$*"
    )
    set_password
    permit "^shop\.$user\." "^(shop\.$user\..+|$namespace\.commands)$" "^(shop\.$user\..+|$namespace\.events)$"
    # RabbitMQ matches the binding key against this: its last word must be one of the merchants, so
    # `#` and `order.*.*` cannot be bound. RabbitMQ does not know which merchant a command is for.
    # The worker checks that if WXPAY_CLIENTS_FILE is set. Without that file give these permissions
    # only to a shop that may order for every merchant; other shops order over HTTP with a token.
    ctl set_topic_permissions --vhost "$vhost" "$user" "$namespace.events" '^$' "^.+\.($merchants)$"
    ;;
  *) usage ;;
esac
