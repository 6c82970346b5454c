#!/bin/sh
# ensure-checkers.sh: makes sure that the programs which checks and tests call
# are on this machine: a C compiler for Go's race detector, shellcheck, and what
# the install script is tried with. Says nothing when they are. Otherwise
# installs them (Debian, as root).
set -eu

main() {
	set --
	for need in gcc:gcc ld:binutils shellcheck:shellcheck busybox:busybox openssl:openssl curl:curl jq:jq ssh-keygen:openssh-client minisign:minisign osslsigncode:osslsigncode systemd-analyze:systemd; do
		command -v "${need%%:*}" >/dev/null 2>&1 || set -- "$@" "${need#*:}"
	done
	# gcc alone has no headers of the C library.
	[ -e /usr/include/stdlib.h ] || set -- "$@" libc6-dev
	[ $# -eq 0 ] || "$(dirname "$0")/apt-install.sh" "$@"
}

main
