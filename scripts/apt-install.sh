#!/bin/sh
# apt-install.sh PACKAGE...: installs packages on Debian and its relatives, as
# root, or says precisely what a person has to do. Shows apt's output only when
# it fails.
set -eu

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

if ! command -v apt-get >/dev/null 2>&1; then
	say "this is not a Debian system; install what Debian calls: $*"
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	say "only root can install packages; run: sudo apt-get install $*"
	exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

say "installing $*"
export DEBIAN_FRONTEND=noninteractive
if ! apt-get -q -o DPkg::Lock::Timeout=120 update >"$log" 2>&1 ||
	! apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" >>"$log" 2>&1; then
	tail -n 20 "$log" >&2
	say "could not install $*; apt-get's last lines are above"
	exit 1
fi
