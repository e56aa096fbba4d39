#!/usr/bin/env bash
# The main job, with nothing but the Rust toolchain: a local repository, a folder and a live SQLite database, saved three
# times with changes in between; the middle one restored by its time and proved equal.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

say "building keepstone"
cargo build --release --locked -q -p keepstone -p keepstone-benches --bin keepstone --bin demo
bin=$target_dir/release

work=$(mktemp -d)
writer=
stop() {
    trap - EXIT INT TERM
    if [ -n "$writer" ]; then
        kill "$writer" 2>/dev/null || true
        wait "$writer" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

export HOME=$work/home KEEPSTONE_REPOSITORY=$work/repository KEEPSTONE_PASSWORD=demo
mkdir -p "$HOME"
keepstone() {
    printf '\n$ keepstone %s\n' "$*"
    "$bin/keepstone" "$@"
}

say "a folder of notes, and a SQLite database that a writer keeps changing"
"$bin/demo" make "$work/notes" "$work/app.db"
"$bin/demo" write "$work/app.db" &
writer=$!

keepstone init
for hour in 1 2 3; do
    if [ "$hour" != 1 ]; then
        "$bin/demo" change "$work/notes" "$work/app.db" "$hour"
    fi
    keepstone backup "$work/notes" "sqlite:$work/app.db" --type hourly
    if [ "$hour" = 2 ]; then
        cp -a "$work/notes" "$work/notes.then"
        then=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
    fi
done

keepstone snapshots

say "back to $then"
keepstone restore --at "$then" --target "$work/restored" --force
diff -r "$work/notes.then" "$work/restored$work/notes"
echo "the folder is what it was then"
"$bin/demo" prove "$work/restored/sqlite-app.db/app.db" 2
keepstone check --read-data
