#!/usr/bin/env bash
# Checks the dependencies against deny.toml. Advisories need the database of RustSec; where it
# cannot be fetched, that is said, and the rest is checked all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Duplicate versions are allowed and many; only what is denied is worth the screen.
quietly=(--log-level error --locked)
manifests=(Cargo.toml tests/fuzz/Cargo.toml)
check() {
  for manifest in "${manifests[@]}"; do
    cargo deny --manifest-path "$manifest" --config deny.toml "${quietly[@]}" check "$@"
  done
}
check bans licenses sources
if cargo deny --log-level off fetch db 2>/dev/null; then
  check advisories
else
  echo "lint: the advisory database cannot be fetched, advisories not checked"
fi
