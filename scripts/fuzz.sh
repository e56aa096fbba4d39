#!/usr/bin/env bash
# Long fuzzing: every target of fuzz/targets/mod.rs for FUZZ_SECONDS (default 60), by libFuzzer on nightly.
#
# `make test` runs the same targets on stable with a fixed number of inputs.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

seconds=${FUZZ_SECONDS:-60}
cargo fuzz --version >/dev/null 2>&1 || retry 3 cargo install --locked cargo-fuzz --version 0.13.2

mapfile -t targets < <(sed -n 's/^ *target("\([a-z0-9_]*\)",.*/\1/p' fuzz/targets/mod.rs)
[ "${#targets[@]}" != 0 ] || fail "fuzz/targets/mod.rs names no target"
for target in "${targets[@]}"; do
    say "fuzzing $target for $seconds s"
    mkdir -p "fuzz/corpus/$target"
    KEEPSTONE_FUZZ_TARGET=$target cargo +nightly fuzz run any "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=1024 -malloc_limit_mb=256
done
