#!/usr/bin/env bash
# Measures the release build beside its peers: `bench.sh hourly` or `bench.sh peers`, options passed on.
#
# RESTIC_BIN names another restic than the one on the path.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

bench=${1:?usage: bench.sh hourly|peers [option…]}
shift
bash scripts/install-test-needs.sh bench
cargo build --release --locked -p keepstone -p keepstone-benches
keepstone=$target_dir/release/keepstone
case $bench in
    hourly)
        hours=$target_dir/hours
        [ -d "$hours/h11" ] || "$target_dir/release/hourly" generate --out "$hours" --hours 12
        "$target_dir/release/hourly" files --keepstone "$keepstone" --hours-dir "$hours" "$@"
        ;;
    peers) "$target_dir/release/peers" run --keepstone "$keepstone" "$@" ;;
    *) fail "no bench is called $bench" ;;
esac
