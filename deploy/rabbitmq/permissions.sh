#!/usr/bin/env bash
# Makes or updates a broker user that may do what its part needs, and nothing else.
#
#   permissions.sh ingress USER PASSWORD_FILE             publish commands and notifications
#   permissions.sh worker  USER PASSWORD_FILE             own the namespace, answer to reply_to
#   permissions.sh shop    USER PASSWORD_FILE MCH_ID...   publish commands, hear its merchants' events
#
# WXPAY_NAMESPACE (wxpay), RABBITMQ_VHOST (/) and RABBITMQCTL (rabbitmqctl) may be given. A shop
# names its own queues shop.USER.something.
set -euo pipefail

usage() {
  sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 64
}

[ $# -ge 3 ] || usage
part=$1 user=$2 password_file=$3
shift 3
namespace=${WXPAY_NAMESPACE:-wxpay}
vhost=${RABBITMQ_VHOST:-/}
# Both become parts of patterns.
for name in "$namespace" "$user"; do
  if ! [[ $name =~ ^[a-z0-9][a-z0-9_-]{0,39}$ ]] || [ "$namespace" = shop ]; then
    echo "permissions: not usable as a namespace or user: $name" >&2
    exit 64
  fi
done

ctl() { "${RABBITMQCTL:-rabbitmqctl}" --quiet "$@"; }

# The password comes by standard input, for arguments can be read by everybody on the machine.
set_password() {
  local users verb=add_user
  users=$(ctl list_users --no-table-headers </dev/null | cut -f 1)
  if grep -qxF "$user" <<<"$users"; then
    verb=change_password
  fi
  # Without options: RabbitMQ 4 counts the arguments to know that it has to read.
  head -n 1 "$password_file" | "${RABBITMQCTL:-rabbitmqctl}" "$verb" "$user" >/dev/null
}

# permit CONFIGURE WRITE READ
permit() { ctl set_permissions --vhost "$vhost" "$user" "$1" "$2" "$3"; }

case $part in
  ingress)
    [ $# = 0 ] || usage
    set_password
    # It reads answers by direct reply-to, which needs no permission.
    permit '^$' "^$namespace\.(commands|notify)$" '^$'
    ;;
  worker)
    [ $# = 0 ] || usage
    set_password
    # amq.default carries the answers to reply_to; amq.gen- are the queues of `events listen`.
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
    # RabbitMQ holds the binding key against this: its last word must be one of the merchants, so
    # that neither `#` nor `order.*.*` can be bound. RabbitMQ cannot see for which merchant a
    # command is: the worker does, when it is given WXPAY_CLIENTS_FILE. Without that file only a shop
    # that is trusted with every merchant may publish; the others order over HTTP, with a token.
    ctl set_topic_permissions --vhost "$vhost" "$user" "$namespace.events" '^$' "^.+\.($merchants)$"
    ;;
  *) usage ;;
esac
