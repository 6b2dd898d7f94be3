#!/usr/bin/env bash
# Prints COUNT different TCP ports on which nobody listens at 127.0.0.1, one a line.
# They lie below the range from which the kernel serves outgoing connections, so that none of
# those takes a port between this answer and the bind that follows it.
set -euo pipefail

count=${1:?usage: free-ports.sh COUNT}
for port in $(shuf --input-range=20000-31999 --head-count=200); do
  if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "$port"
    count=$((count - 1))
    [ "$count" -gt 0 ] || exit 0
  fi
done
echo "free-ports: no free port between 20000 and 31999" >&2
exit 1
