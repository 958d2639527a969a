#!/usr/bin/env bash
# Fuzzes every target, or those that are named, for so many seconds each:
#
#     fuzz/run.sh [SECONDS] [TARGET...]
#
# What libFuzzer finds interesting stays outside the committed corpus. A crash fails the script, and
# leaves its input in fuzz/artifacts. Exit code 77 says that it could not be run here.
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

# The crate libfuzzer-sys compiles libFuzzer, which is C++.
if ! type "${CXX:-c++}" >/dev/null 2>&1; then
    echo "skipped: there is no C++ compiler"
    exit 77
fi
if [ "$(uname -s)" != Linux ]; then
    echo "skipped: the linker's flags for it are known for Linux alone"
    exit 77
fi

# What libFuzzer wants to know of a run: which edges were taken, and what was compared. Nightly's
# `cargo fuzz` passes the same flags and adds a sanitizer, which code without `unsafe` does not need.
coverage=(--cfg fuzzing -Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=("-Cllvm-args=-sanitizer-coverage-$option")
done
# A target of its own keeps the flags from build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${coverage[*]}" CARGO_INCREMENTAL=0 \
    cargo build --locked --quiet --release --bins --target "$host" --target-dir target

found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in "${targets[@]}"; do
    mkdir -p "$found/$target" "artifacts/$target"
    log=$found/$target.log
    if ! "target/$host/release/$target" "$found/$target" "corpus/$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -dict=json.dict \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 >"$log" 2>&1; then
        cat "$log"
        echo "$target: failed"
        exit 1
    fi
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    echo "$target: $executions executions in $seconds s, nothing found"
done
