#!/bin/sh
# ensure-engine.sh: makes sure that what a Docker Engine is compiled and run with
# in tests is on this machine: libseccomp's headers for runc, and what sets a
# network up. Says nothing when it is; otherwise installs it, as root.
set -eu

PATH=$PATH:/usr/sbin:/sbin
missing=
pkg-config --exists libseccomp 2>/dev/null || missing="libseccomp-dev pkg-config"
for pair in ip:iproute2 iptables:iptables pkill:procps nsenter:util-linux; do
	command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
# shellcheck disable=SC2086 # one word a package
exec "$(dirname "$0")/apt-install.sh" $missing
