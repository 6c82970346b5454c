#!/bin/sh
# ensure-docker.sh: makes sure that a Docker Engine answers on this machine.
# Says nothing when one does. Otherwise, as root: installs docker.io where it is
# missing (Debian), starts the engine, waits until it answers and says what it
# did. FAIRLEAD_DOCKERD_LOG is where an engine started without systemd writes.
set -eu

PATH=$PATH:/usr/sbin:/sbin
WAIT_SECONDS=60
LOG=${FAIRLEAD_DOCKERD_LOG:-/var/log/dockerd.log}

say() { printf 'ensure-docker: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 1
}
answers() { docker version >/dev/null 2>&1; }

# why prints the reason why docker version fails, on one line.
why() { docker version 2>&1 >/dev/null | tail -n 1; }

install_packages() {
	here=$(dirname "$0")
	set -- docker.io
	# Newer Debian has the docker command in a package of its own.
	if apt-cache show docker-cli 2>/dev/null | grep -q '^Package:'; then set -- "$@" docker-cli; fi
	"$here/apt-install.sh" "$@"
}

start_with_systemd() {
	systemctl start docker || die "systemd could not start docker; see: journalctl -u docker"
	STARTED="the systemd service docker"
}

start_in_background() {
	mkdir -p "$(dirname "$LOG")"
	nohup dockerd >"$LOG" 2>&1 </dev/null &
	DOCKERD=$!
	STARTED="dockerd in the background (process $DOCKERD, log $LOG)"
}

wait_until_it_answers() {
	waited=0
	until answers; do
		if [ -n "${DOCKERD:-}" ] && ! kill -0 "$DOCKERD" 2>/dev/null; then
			tail -n 10 "$LOG" >&2
			die "dockerd ended; its last lines are above, all of them in $LOG"
		fi
		[ $waited -lt $WAIT_SECONDS ] || die "started $STARTED, but it does not answer after $WAIT_SECONDS seconds: $(why)"
		sleep 1
		waited=$((waited + 1))
	done
	say "started $STARTED"
}

main() {
	if command -v docker >/dev/null 2>&1; then
		if answers; then return 0; fi
		[ -z "${DOCKER_HOST:-}" ] || die "DOCKER_HOST is $DOCKER_HOST and nothing answers there: $(why)"
		case $(why) in
		*'permission denied'*) die "user $(id -un) may not use Docker: run this as root or add the user to the group docker" ;;
		esac
	fi
	[ "$(id -u)" -eq 0 ] || die "no Docker Engine answers, and only root can install or start one; run: sudo $0"
	if ! command -v docker >/dev/null 2>&1 || ! command -v dockerd >/dev/null 2>&1; then
		install_packages
		# Debian may have started the service with the installation.
		if answers; then
			say "installed Docker, and its service answers"
			return 0
		fi
	fi
	command -v dockerd >/dev/null 2>&1 || die "there is a docker command but no engine (dockerd): install the package docker.io"
	if [ -d /run/systemd/system ]; then start_with_systemd; else start_in_background; fi
	wait_until_it_answers
}

main "$@"
