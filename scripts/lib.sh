# Shared by the scripts beside it; sourced, never run.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Everything built lies here, whoever chose the place.
target_dir=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)

# Programs that tests need and no Debian package has.
tools_dir=${KEEPSTONE_TEST_TOOLS:-$target_dir/tools}

say() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# retry N COMMAND…: a registry that does not answer once may answer a little later.
retry() {
    local tries=$1 try
    shift
    for ((try = 1; try <= tries; try++)); do
        "$@" && return 0
        if ((try < tries)); then
            printf 'try %d of %d failed: %s\n' "$try" "$tries" "$*" >&2
            sleep $((try * 5))
        fi
    done
    return 1
}
