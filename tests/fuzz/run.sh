#!/usr/bin/env bash
# Builds the fuzz targets with the stable toolchain and runs as many at a time as there are
# processors. Prints the number of executions, or fails and names the input that broke a target.
#
#   tests/fuzz/run.sh SECONDS [TARGET]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=tests/fuzz
work=target/fuzz
export here work seconds=$1

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

# The flags of `cargo fuzz run --sanitizer none`, which stable accepts. With --target they apply to
# the fuzz targets and not to build scripts.
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
  --target "$host" --target-dir "$work/build"
export programs=$work/build/$host/release
# Reading the symbols of a trace would exceed the memory limit; the panic message has the location.
export RUST_BACKTRACE=0

run() {
  local target=$1 folder
  local corpora=("$work/corpus/$target")
  mkdir -p "${corpora[0]}" "$work/crashes" "$work/logs"
  # libFuzzer writes new inputs into the first folder and only reads the others.
  for folder in "$here/corpus/$target" crates/wechatpay-v2/tests/samples; do
    [[ ! -d $folder ]] || corpora+=("$folder")
  done
  # The timeout is a thousand times what an input takes. The memory limit is for the fuzzer's own
  # corpus: src/lib.rs limits what a target allocates. A message has 65,536 bytes at most.
  local options=(
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=66000
    -dict="$here/words.dict" -artifact_prefix="$work/crashes/$target-" -print_final_stats=1
  )
  if ! "$programs/$target" "${corpora[@]}" "${options[@]}" &>"$work/logs/$target"; then
    tail -n 30 "$work/logs/$target" >&2
    echo "fuzz: $target is broken; to repeat it: $programs/$target $work/crashes/$target-…" >&2
    # xargs starts no further target.
    exit 255
  fi
}
export -f run

printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'run {}'

sum=0
for target in "${targets[@]}"; do
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/logs/$target")
  printf '%-22s %12d\n' "$target" "$executions"
  sum=$((sum + executions))
done
printf '%-22s %12d\n' sum "$sum"
