#!/usr/bin/env bash
# Everything that must hold before a change lands: needs, format, lints, documents, tests.
#
# Tests start the servers they need on free ports and stop them. The Python reader and the short fuzz run are tests.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

# In a process group of its own, so that nothing started here outlives an interrupt.
child=
stop() {
    trap - EXIT INT TERM
    if [ -n "$child" ] && kill -0 "$child" 2>/dev/null; then
        kill -TERM -- "-$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

step() {
    local name=$1 started=$SECONDS status=0
    shift
    say "$name"
    set -m
    "$@" &
    child=$!
    set +m
    wait "$child" || status=$?
    child=
    if [ "$status" != 0 ]; then
        fail "$name failed with status $status"
    fi
    printf '%s: %d s\n' "$name" $((SECONDS - started))
}

export KEEPSTONE_TEST_TOOLS=$tools_dir
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
export CARGO_NET_RETRY=${CARGO_NET_RETRY:-5}

step "needs" bash scripts/install-test-needs.sh test
step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "documents" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
step "tests" cargo test --workspace --locked --no-fail-fast
