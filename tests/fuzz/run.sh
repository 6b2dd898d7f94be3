#!/usr/bin/env bash
# Builds the fuzz targets with the stable toolchain and runs them, as many at a time as there are
# processors. Ends with the number of executions, or fails and names the input that broke a target.
#
#   tests/fuzz/run.sh SECONDS [TARGET]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=tests/fuzz
room=target/fuzz
export here room seconds=$1

if ! command -v c++ >/dev/null; then
  echo "fuzz: libFuzzer needs a C++ compiler (apt-get install g++)" >&2
  exit 1
fi

if [[ -n ${2:-} ]]; then
  targets=("$2")
  if [[ ! -f $here/targets/$2.rs ]]; then
    echo "fuzz: there is no target $2" >&2
    exit 1
  fi
else
  mapfile -t targets < <(basename --suffix .rs "$here"/targets/*.rs)
fi

# What `cargo fuzz run --sanitizer none` passes, which stable takes as well. They are for the target
# alone, so that build scripts are built without them.
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(
  --cfg fuzzing
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
)
RUSTFLAGS="${flags[*]}" cargo build --release --locked --manifest-path "$here/Cargo.toml" \
  --target "$host" --target-dir "$room/build"
export programs=$room/build/$host/release
# Reading the symbols of a trace would break the bound on memory; the message says where it was.
export RUST_BACKTRACE=0

run() {
  local target=$1 folder
  local corpora=("$room/corpus/$target")
  mkdir -p "${corpora[0]}" "$room/finds" "$room/logs"
  # Only read: what turns out to be worth keeping goes into the first.
  for folder in "$here/corpus/$target" crates/wechatpay-v2/tests/samples; do
    [[ ! -d $folder ]] || corpora+=("$folder")
  done
  # No input takes a thousandth of 5 s. The bound on what a target allocates is in src/lib.rs; this
  # one is for what the fuzzer keeps. A message has 65,536 bytes at most.
  local options=(
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=66000
    -dict="$here/words.dict" -artifact_prefix="$room/finds/$target-" -print_final_stats=1
  )
  if ! "$programs/$target" "${corpora[@]}" "${options[@]}" &>"$room/logs/$target"; then
    tail -n 30 "$room/logs/$target" >&2
    echo "fuzz: $target is broken; to see it again: $programs/$target $room/finds/$target-…" >&2
    # Tells xargs to start no other.
    exit 255
  fi
}
export -f run

printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'run {}'

sum=0
for target in "${targets[@]}"; do
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$room/logs/$target")
  printf '%-22s %12d\n' "$target" "$executions"
  sum=$((sum + executions))
done
printf '%-22s %12d\n' sum "$sum"
