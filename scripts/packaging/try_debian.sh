#!/usr/bin/env bash
# try_debian.sh PACKAGE: boots a Debian in a container of its own, with systemd as its first process and without a network,
# and does there with the package what docs/how-to/debian.md says, line by line; then it upgrades, removes and
# purges it. trial.sh is what runs inside. ./scripts/package --try calls this.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE="$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")"
BARE="$ROOT/.tools/debian-$SUITE.tar"
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
MACHINE="$WORK/machine"
PACKAGE="$1"

# A Debian with what the package depends on, so that the trial needs no network. It is kept for the next time.
make_bare_debian() {
    [ -f "$BARE" ] && return
    mkdir -p "$ROOT/.tools"
    quietly "making a bare Debian $SUITE" mmdebstrap --variant=apt \
        --include=adduser,ca-certificates,dbus,man-db,python3,systemd,systemd-sysv "$SUITE" "$BARE.new.tar"
    mv "$BARE.new.tar" "$BARE"
}

# The package once more, as a later version whose sample configuration says something else.
make_next_version() {
    dpkg-deb -R "$PACKAGE" "$WORK/next"
    sed -i 's/^Version: .*/&+next/' "$WORK/next/DEBIAN/control"
    sed -i 's|^// The configuration of oxd-server\.|// The next configuration of oxd-server.|' "$WORK/next/etc/oxd/oxd-conf.json"
    dpkg-deb -Znone -b "$WORK/next" "$MACHINE/trial/next.deb" >/dev/null
}

set_up_machine() {
    mkdir "$MACHINE"
    tar -xf "$BARE" -C "$MACHINE"
    mkdir "$MACHINE/trial"
    cp "$PACKAGE" "$MACHINE/trial"
    cp "$ROOT/scripts/packaging/trial.sh" "$ROOT/docs/how-to/debian.md" "$MACHINE/trial"
    make_next_version
    cat >"$MACHINE/etc/systemd/system/trial.service" <<'UNIT'
[Service]
Type=oneshot
WorkingDirectory=/trial
ExecStart=/bin/bash -c './trial.sh >log 2>&1 && touch passed; systemctl --force poweroff'
UNIT
    mkdir -p "$MACHINE/etc/systemd/system/multi-user.target.wants"
    ln -s ../trial.service "$MACHINE/etc/systemd/system/multi-user.target.wants"
}

for tool in mmdebstrap systemd-nspawn; do
    command -v $tool >/dev/null || apt_install mmdebstrap systemd-container || die "The trial needs mmdebstrap and systemd-nspawn."
done
make_bare_debian
set_up_machine
timeout 600 systemd-nspawn --quiet --directory="$MACHINE" --boot --private-network --register=no --keep-unit \
    </dev/null >"$WORK/console" 2>&1 || true # it complains of an end that it did not order
cat "$MACHINE/trial/log" || cat "$WORK/console"
[ -f "$MACHINE/trial/passed" ] || die "The trial failed."
