#!/bin/sh
# ensure-registry.sh: makes sure that a container registry program is on this
# machine, for tests and one-machine installations that run their own registry.
# Says nothing when there is one. Otherwise installs the package docker-registry
# (Debian, as root) and stops the service that comes with it.
set -eu

say() { printf 'ensure-registry: %s\n' "$*" >&2; }

present() { command -v docker-registry >/dev/null 2>&1 || command -v registry >/dev/null 2>&1; }

main() {
	if present; then return 0; fi
	"$(dirname "$0")/apt-install.sh" docker-registry
	if [ -d /run/systemd/system ]; then
		systemctl disable --now --quiet docker-registry || say "could not stop the service docker-registry; it keeps port 5000"
	elif [ -x /etc/init.d/docker-registry ]; then
		/etc/init.d/docker-registry stop >/dev/null 2>&1 || :
	fi
	if ! present; then
		say "the package docker-registry is installed, but there is no program of that name"
		exit 1
	fi
	say "installed the program docker-registry; its service is off"
}

main "$@"
