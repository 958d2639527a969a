#!/usr/bin/env bash
# Fuzzes every target, or those that are named, for so many seconds each:
#
#     fuzz/run.sh [SECONDS] [TARGET...]
#
# What libFuzzer finds interesting stays outside the committed corpus. A crash fails the script, and
# leaves its input in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "skipped: there is no nightly toolchain"
    exit 0
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "skipped: there is no cargo-fuzz (cargo install cargo-fuzz)"
    exit 0
fi

found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
cargo +nightly fuzz build
for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    log=$found/$target.log
    if ! cargo +nightly fuzz run "$target" "$found/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -dict=json.dict \
        -print_final_stats=1 >"$log" 2>&1; then
        cat "$log"
        echo "$target: failed"
        exit 1
    fi
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    echo "$target: $executions executions in $seconds s, nothing found"
done
