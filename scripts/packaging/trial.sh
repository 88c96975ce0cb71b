#!/usr/bin/env bash
# What runs inside the machine of try_debian.sh: the lines of the page for operators, and after them what must then be so.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive PAGER=cat SYSTEMD_PAGER=cat

# block N: the lines of the N-th block of commands of the page.
block() {
    awk -v wanted="$1" '/^```/ { inside = /^```sh/; number += inside; next } inside && number == wanted' debian.md
}

# type_block N: runs the lines of a block, each shown before it runs.
type_block() {
    printf '\n== block %s\n' "$1"
    block "$1" | bash -exuo pipefail
}

# must COMMAND...: a check of ours, which is shown.
must() {
    printf '   must: %s\n' "$*"
    "$@"
}

never() {
    printf '   never: %s\n' "$*"
    ! "$@" 2>/dev/null
}

mode_of() {
    stat -c '%U:%G %a' "$1"
}

has_mode() {
    [ "$(mode_of "$1")" = "$2" ]
}

main_pid() {
    systemctl show -P MainPID oxd-server
}

another_than() {
    [ "$(main_pid)" != "$1" ]
}

# wait_until COMMAND...: until it succeeds, for half a minute.
wait_until() {
    local tries=0
    until "$@"; do
        [ $((tries += 1)) -lt 300 ] || return 1
        sleep 0.1
    done
}

enabled() {
    systemctl is-enabled --quiet "$1"
}

active() {
    systemctl is-active --quiet "$1"
}

answers() {
    oxd-server call get_rp list:=true | grep -q '"status": "ok"'
}

# The package is installed by the line of the page; apt is told of no source, as all that it needs is there.
type_block 1
must enabled oxd-server
must answers
must oxd-server health --config /etc/oxd/oxd-conf.json
must has_mode /etc/oxd 'root:oxd 750'
must has_mode /etc/oxd/oxd-conf.json 'root:oxd 640'
must has_mode /etc/oxd/credentials 'root:root 700'
must has_mode /var/lib/oxd 'oxd:oxd 700'
must has_mode /var/lib/oxd/oxd.sqlite 'oxd:oxd 600'
must test "$(stat -c %U "/proc/$(main_pid)")" = oxd
systemd-analyze verify oxd-server.service oxd-server.socket
printf 'verified\n'
systemd-analyze security --threshold=20 oxd-server.service | tail -n 1
must man --warnings -E UTF-8 -l /usr/share/man/man1/oxd-server.1.gz >/dev/null
must man -w oxd-conf.json

type_block 2
must grep -q debug /etc/oxd/oxd-conf.json
type_block 3
must answers
must grep -q 'trust_store_password.*credential' <(systemd-run --quiet --pipe --wait -p User=oxd \
    -p LoadCredential=oxd:/etc/oxd/credentials oxd-server check-config --show --config /etc/oxd/oxd-conf.json)
type_block 4
must answers
type_block 5
must has_mode /run/oxd/oxd.sock 'oxd:oxd 660'
type_block 6
must has_mode /var/lib/oxd/backup.sqlite 'oxd:oxd 600'

type_block 7
must active oxd-server.socket
old="$(main_pid)"
type_block 8
wait_until another_than "$old"
must answers
must test "$(stat -c %U "/proc/$(main_pid)")" = oxd

# While the server is down, the socket takes what comes, and the server that is started by it answers.
systemctl stop oxd-server
must answers

printf '\n== upgrade\n'
apt-get install -y -o Dpkg::Options::=--force-confold ./next.deb
must answers
must grep -q debug /etc/oxd/oxd-conf.json
must grep -q 'The next configuration' /etc/oxd/oxd-conf.json.dpkg-dist
must has_mode /etc/oxd/oxd-conf.json 'root:oxd 640'
must active oxd-server.socket

printf '\n== remove\n'
apt-get remove -y oxd-server
never active oxd-server
never active oxd-server.socket
must test -f /etc/oxd/oxd-conf.json
must test -f /var/lib/oxd/oxd.sqlite
must test ! -e /usr/lib/oxd-server
printf '\n== install again\n'
apt-get install -y -o Dpkg::Options::=--force-confold ./next.deb
wait_until active oxd-server
must answers
must grep -q debug /etc/oxd/oxd-conf.json

type_block 9
must test ! -e /etc/oxd
must test ! -e /var/lib/oxd
must test ! -e /usr/lib/oxd-server
must test ! -e /etc/systemd/system/sockets.target.wants/oxd-server.socket
must id oxd
