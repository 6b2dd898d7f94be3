#!/usr/bin/env bash
# Limits the length of a namespace's queues, so that a flood or a long outage fills a queue and not
# the broker's disk. A full queue rejects what is published: the ingress then answers 503 or FAIL,
# and the shop or WeChat repeats. The limits are policies and not queue arguments because a policy
# can be changed while the queue exists.
#
#   policies.sh
#
# Environment: WXPAY_NAMESPACE (wxpay), RABBITMQ_VHOST (/) and RABBITMQCTL (rabbitmqctl).
set -euo pipefail

namespace=${WXPAY_NAMESPACE:-wxpay}
vhost=${RABBITMQ_VHOST:-/}
if ! [[ $namespace =~ ^[a-z0-9][a-z0-9_-]{0,39}$ ]]; then
  echo "policies: the namespace may only hold a-z, 0-9, _ and -, at most 40: $namespace" >&2
  exit 64
fi

# limit NAME QUEUES MESSAGES BYTES: reject-publish, because the default drops the oldest message.
limit() {
  "${RABBITMQCTL:-rabbitmqctl}" --quiet set_policy --vhost "$vhost" --apply-to queues \
    "$namespace-$1" "^$namespace\.$2$" \
    "{\"max-length\":$3,\"max-length-bytes\":$4,\"overflow\":\"reject-publish\"}"
}

# The bytes limit the disk. A body may have 64 KiB, but most have less than 1 KiB.
limit work '(orders|notifications)' 1000000 $((2 << 30))
limit delay '(orders|notifications)\.delay\..+' 200000 $((512 << 20))
# What waits for an operator. If such a queue is full, dead letters stay in their first queue.
limit kept '((orders|notifications)\.parked|unrouted)' 100000 $((1 << 30))
