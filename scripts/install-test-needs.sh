#!/usr/bin/env bash
# Installs what tests (`test`, the default) or benches (`bench`) need, by package name and only what is missing.
#
# Debian's packages are pinned by the release of the distribution, everything else by its exact version. Debian's
# services are kept from starting: tests start servers of their own on free ports.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

needs=${1:-test}
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c

case $needs in
    test) packages=(redis-server postgresql postgresql-contrib sqlite3 restic borgbackup python3-venv acl attr) ;;
    bench) packages=(redis-server postgresql postgresql-contrib restic borgbackup xdelta3) ;;
    *) fail "usage: install-test-needs.sh [test|bench]" ;;
esac

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        is_installed "$package" || printf '%s\n' "$package"
    done
}

# Debian starts a server when it is installed unless this policy forbids it. A policy that is there stays.
forbid_services() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    # And PostgreSQL makes a cluster of its own unless its configuration, if it is not there yet, forbids that.
    local clusters=/etc/postgresql-common/createcluster.conf
    if [ ! -e "$clusters" ]; then
        as_root mkdir -p "$(dirname "$clusters")"
        echo 'create_main_cluster = false' | as_root tee "$clusters" >/dev/null
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" = 0 ]; then
        return
    fi
    say "installing ${missing[*]}"
    forbid_services
    retry 3 apt_get update
    retry 3 apt_get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
}

# MinIO stands in for S3. Its version is part of the stamp, so that a new pin is installed anew.
install_minio() {
    local stamp=$tools_dir/minio.$minio_version
    if [ -x "$tools_dir/minio" ] && [ -e "$stamp" ]; then
        return
    fi
    command -v go >/dev/null || fail "cannot install minio: install Go first"
    say "installing minio $minio_version"
    mkdir -p "$tools_dir"
    GOBIN=$tools_dir GOFLAGS=-trimpath CGO_ENABLED=0 \
        retry 3 go install "github.com/minio/minio@$minio_version"
    touch "$stamp"
}

# The second reader of the format is Python. Its packages lie in an environment of their own.
install_reader() {
    local venv=$tools_dir/reader-venv requirements=tests/reader/requirements.txt
    if [ -x "$venv/bin/python" ] && cmp -s "$requirements" "$venv/requirements.txt"; then
        return
    fi
    say "installing the packages of the Python reader"
    rm -rf "$venv"
    python3 -m venv "$venv"
    retry 3 "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
}

if command -v dpkg-query >/dev/null; then
    install_packages
else
    say "not a Debian system: install these yourself: ${packages[*]}"
fi
if [ "$needs" = test ]; then
    install_minio
    install_reader
fi
