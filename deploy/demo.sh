#!/usr/bin/env bash
# Sends one order through the whole system and tells what happened: a shop asks for payment, a
# simulated WeChat Pay takes the money, the shop hears of it.
#
#   make demo      that is: deploy/services.sh with deploy/demo.sh
#
# It needs WXPAY_DATABASE_URL and WXPAY_AMQP_URL. On a broker that is not its own it stays in a
# namespace made for it, whose exchanges and queues remain there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${WXPAY_DATABASE_URL:?run it by: make demo}" "${WXPAY_AMQP_URL:?run it by: make demo}"

mch_id=1900000109
appid=wx8888888888888888
openid=oUpF8uMuAJO_M2pxb1Q9zNjWeS6o
out_trade_no=DEMO$(date -u +%Y%m%d%H%M%S)
names=()
pids=()
listener=
dir=
target=${CARGO_TARGET_DIR:-target}

step() { printf '\n== %s\n' "$*"; }

fail() {
  local log
  echo "demo: $*" >&2
  for log in "$dir"/*.log; do
    [ ! -s "$log" ] || { echo "--- the end of ${log##*/}:" && tail -n 20 "$log"; } >&2
  done
  exit 1
}

# start NAME COMMAND...
start() {
  local name=$1
  shift
  "$@" >"$dir/$name.log" 2>&1 &
  names+=("$name")
  pids+=("$!")
}

# until_true SECONDS WHAT COMMAND...: waits for COMMAND to succeed, as long as the services live.
until_true() {
  local what=$2 deadline=$((SECONDS + $1)) i
  shift 2
  until "$@"; do
    for i in "${!pids[@]}"; do
      kill -0 "${pids[i]}" 2>/dev/null || fail "${names[i]} has ended while we waited: $what"
    done
    [ "$SECONDS" -lt "$deadline" ] || fail "waited too long: $what"
    sleep 0.1
  done
}

# Asks all to stop at once, and gives them 15 s together.
stop_all() {
  local i late=0
  [ -z "$listener" ] || kill "$listener" 2>/dev/null || true
  [ "${#pids[@]}" = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  for i in "${!pids[@]}"; do
    for _ in {1..150}; do
      kill -0 "${pids[i]}" 2>/dev/null || break
      [ "$late" = 0 ] || break
      sleep 0.1
    done
    if kill -0 "${pids[i]}" 2>/dev/null; then
      late=1
      echo "demo: ${names[i]} did not stop by itself" >&2
      kill -KILL "${pids[i]}"
    fi
  done
  names=()
  pids=()
  return "$late"
}

finish() {
  local status=$?
  set +e
  trap '' INT TERM
  stop_all
  if [ -n "$dir" ]; then
    rm -f "$dir/api.key" "$dir/secrets"
    if [ "$status" = 1 ]; then echo "demo: the logs are in $dir" >&2; else rm -rf "$dir"; fi
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! command -v curl >/dev/null; then
  if [ "$EUID" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends curl; } >&2
  else
    fail "curl is missing: sudo apt-get install curl"
  fi
fi

# http FILE CURL-ARGUMENTS...: the body goes to FILE, the status to our output.
http() {
  local file=$1
  shift
  curl --silent --max-time 20 --output "$file" --write-out '%{http_code}' "$@" 2>/dev/null || true
}
answers_200() { [ "$(http /dev/null "$1")" = 200 ]; }

# The string, or the number, of that name in the JSON on our input.
field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }
number() { sed -n "s/.*\"$1\" *: *\([0-9]*\).*/\1/p"; }
state() { grep -o '"state" *: *"[a-z]*"' "$1" | head -n 1 | field state; }

step "Building"
export SQLX_OFFLINE=true
cargo build --locked --bins

# Only what this page says: a setting for another place must not lead the demo there.
for variable in "${!WXPAY_@}"; do
  case $variable in
    WXPAY_DATABASE_URL | WXPAY_AMQP_URL | WXPAY_LOG) ;;
    *) unset "$variable" ;;
  esac
done
mkdir -p target
dir=$(mktemp -d "$PWD/target/demo.XXXXXX")
mapfile -t ports < <(deploy/free-ports.sh 4)
simulator=127.0.0.1:${ports[0]}
public=127.0.0.1:${ports[1]}
private=127.0.0.1:${ports[2]}
ops=127.0.0.1:${ports[3]}
namespace=wxpay-demo-$RANDOM
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
export WXPAY_NAMESPACE=$namespace WXPAY_MERCHANTS_FILE=$dir/merchants.toml
export WXPAY_SIM_ADDR=$simulator WXPAY_PUBLIC_ADDR=$public WXPAY_PRIVATE_ADDR=$private WXPAY_OPS_ADDR=$ops
export WXPAY_GATEWAY_URL=http://$simulator WXPAY_GATEWAY_BACKUP_URL=http://$simulator

key=$(head -c 1024 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | cut -c 1-32)
(umask 077 && printf '%s' "$key" >"$dir/api.key")
cat >"$dir/merchants.toml" <<TOML
[[merchant]]
mch_id = "$mch_id"
appids = ["$appid"]
sign_type = "MD5"
notify_base_url = "http://$public"
api_key_file = "$dir/api.key"
TOML

step "Starting simulator, worker and ingress (namespace $namespace)"
"$target/debug/wxpay-worker" migrate >"$dir/migrate.log" 2>&1 || fail "the migration failed"
start simulator "$target/debug/wxpay-simulator"
start worker "$target/debug/wxpay-worker" run
start ingress "$target/debug/wxpay-ingress"
until_true 60 "the simulator answers" answers_200 "http://$simulator/_sim/"
until_true 60 "the worker is ready" answers_200 "http://$ops/readyz"
until_true 60 "the ingress is ready" answers_200 "http://$private/readyz"
"$target/debug/wxpay-worker" events listen --out-trade-no "$out_trade_no" --until order.paid --timeout 90 \
  >"$dir/events" 2>"$dir/listener.log" &
listener=$!
is_bound() { grep -qs READY "$dir/listener.log"; }
is_bound_or_gone() { is_bound || ! kill -0 "$listener" 2>/dev/null; }
until_true 30 "the listener is bound" is_bound_or_gone
is_bound || fail "the listener has ended before it was bound"

step "The shop asks for payment of 99.00 CNY, order $out_trade_no"
status=$(http "$dir/created" --header 'Content-Type: application/json' --header 'Prefer: wait=10' --data-binary @- \
  "http://$private/v1/orders" <<JSON
{"mch_id":"$mch_id","appid":"$appid","out_trade_no":"$out_trade_no","body":"Demo: two tickets",
 "total_fee":9900,"spbill_create_ip":"203.0.113.7","openid":"$openid"}
JSON
)
[ "$status" = 200 ] || fail "the ingress answered $status: $(cat "$dir/created" 2>/dev/null)"
[ "$(state "$dir/created")" = payable ] || fail "the order is $(state "$dir/created")"

echo "What the mini program hands to wx.requestPayment:"
for name in appId timeStamp nonceStr package signType paySign; do
  declare "pay_$name=$(field "$name" <"$dir/created")"
  variable=pay_$name
  [ -n "${!variable}" ] || fail "the answer holds no $name"
  printf '  %-9s %s\n' "$name" "${!variable}"
done
# shellcheck disable=SC2154 # set by the loop above
text="appId=$pay_appId&nonceStr=$pay_nonceStr&package=$pay_package&signType=$pay_signType&timeStamp=$pay_timeStamp"
expected=$(printf '%s' "$text&key=$key" | md5sum | cut -c 1-32 | tr a-f A-F)
# shellcheck disable=SC2154
[ "$pay_paySign" = "$expected" ] || fail "paySign is not the MD5 of the parameters and the key"
echo "paySign verified by hand: ok"

step "The customer pays"
status=$(http "$dir/payment" --header 'Content-Type: application/json' --data '{}' \
  "http://$simulator/_sim/pay/$mch_id/$out_trade_no")
[[ $status == 2* ]] || fail "the simulator answered $status: $(cat "$dir/payment" 2>/dev/null)"
is_paid() {
  [ "$(http "$dir/view" "http://$private/v1/orders/$mch_id/$out_trade_no")" = 200 ] \
    && [ "$(state "$dir/view")" = paid ]
}
until_true 30 "the order is paid" is_paid
wait "$listener" || fail "the listener has not seen order.paid"
listener=

step "What the shop has heard on $namespace.events"
while read -r event; do
  from=$(field previous_state <<<"$event")
  printf '  %-14s seq %s  %s -> %s\n' "$(field type <<<"$event")" "$(number seq <<<"$event")" \
    "${from:-nothing}" "$(field state <<<"$event")"
done <"$dir/events"
grep -q '"order\.paid"' "$dir/events" || fail "the event order.paid is missing"

step "The order's whole story, as the operator sees it"
"$target/debug/wxpay-worker" order show "$mch_id" "$out_trade_no" 2>"$dir/show.log" || fail "order show failed"

step "Stopping"
stop_all || fail "a service did not stop within 15 s"

# Three things that no log may hold. The customer's openid is the shop's own business elsewhere.
(umask 077 && printf '%s\n' "$key" "$pay_paySign" "$openid" >"$dir/secrets")
if grep --files-with-matches --fixed-strings --file "$dir/secrets" "$dir"/*.log; then
  echo "demo: a secret stands in the logs named above" >&2
  exit 1
fi
echo "no secret in the logs: ok"

cat <<STORY

== What has happened
 1. The shop posted order $out_trade_no to the ingress.
 2. The ingress, which holds no key and no database, published it to RabbitMQ ($namespace.orders)
    and had the broker's word that it is safe.
 3. The worker wrote the order down, signed it and called unifiedorder at WeChat Pay (the simulator).
 4. WeChat Pay issued $pay_package; the order became payable.
 5. The shop got parameters that the mini program can pay with, in the answer to its request.
 6. The customer paid 99.00 CNY, and WeChat Pay notified the ingress.
 7. The ingress answered SUCCESS as soon as the notification was safe in $namespace.notifications.
 8. The worker verified its signature and matched merchant, app, number, amount and currency.
 9. The order became paid, in one transaction with its history and its event.
10. The shop heard order.paid on $namespace.events.
STORY
