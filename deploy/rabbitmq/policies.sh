#!/usr/bin/env bash
# Bounds the queues of a namespace, so that a flood or a long standstill fills a queue and not the
# broker's disk. A full queue says no to its publisher: the ingress then answers 503 or FAIL, and
# the shop or WeChat repeats. These are policies and no arguments of the queues because policies
# can be changed while the queues live.
#
#   policies.sh
#
# WXPAY_NAMESPACE (wxpay), RABBITMQ_VHOST (/) and RABBITMQCTL (rabbitmqctl) may be given.
set -euo pipefail

namespace=${WXPAY_NAMESPACE:-wxpay}
vhost=${RABBITMQ_VHOST:-/}
if ! [[ $namespace =~ ^[a-z0-9][a-z0-9_-]{0,39}$ ]]; then
  echo "policies: not usable as a namespace: $namespace" >&2
  exit 64
fi

# bound NAME QUEUES MESSAGES BYTES: reject-publish, because the default drops the oldest message.
bound() {
  "${RABBITMQCTL:-rabbitmqctl}" --quiet set_policy --vhost "$vhost" --apply-to queues \
    "$namespace-$1" "^$namespace\.$2$" \
    "{\"max-length\":$3,\"max-length-bytes\":$4,\"overflow\":\"reject-publish\"}"
}

# The bytes are what really bounds the disk. A body may have 64 KiB, but most have under one.
bound work '(orders|notifications)' 1000000 $((2 << 30))
bound delay '(orders|notifications)\.delay\..+' 200000 $((512 << 20))
# What waits for a person. One that is full holds its sender's dead letters back in the sender.
bound kept '((orders|notifications)\.parked|unrouted)' 100000 $((1 << 30))
