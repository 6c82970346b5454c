#!/bin/sh
# on-engine.sh PROGRAMS COMMAND [ARGUMENT...]: runs a command, as root, beside a
# Docker Engine of its own whose programs (dockerd, containerd, runc) are in the
# folder PROGRAMS: in a network namespace, as on a machine without others, with
# PATH and DOCKER_HOST set. When the command ends, so does everything of the
# engine; the exit code is the command's. It goes with: go test -exec.
set -eu

PATH=$PATH:/usr/sbin:/sbin
WAIT_SECONDS=60

die() {
	printf 'on-engine: %s\n' "$*" >&2
	exit 1
}

# end stops the engine and removes what it had: what survives it (a containerd, a
# container's shim) has its folder on the command line.
end() {
	if [ -n "${DOCKERD:-}" ]; then
		kill "$DOCKERD" 2>/dev/null || true
		wait "$DOCKERD" 2>/dev/null || true
	fi
	pkill -KILL -f "$FOLDER/" || true
	sed -n "s|^[^ ]* \($FOLDER/[^ ]*\) .*|\1|p" /proc/self/mounts | sort -r | xargs -r -n 1 umount -l || true
	ip netns delete "$SPACE" 2>/dev/null || true
	rm -rf "$FOLDER" || true # it says what is left; the exit code stays the command's
}

[ $# -ge 2 ] || die "name the folder of the engine's programs, and a command"
programs=$(cd "$1" && pwd)
shift
for program in dockerd containerd containerd-shim-runc-v2 runc; do
	[ -x "$programs/$program" ] || die "$programs has no $program: run make engine-build"
done
[ "$(id -u)" -eq 0 ] || die "only root can start a Docker Engine"

# A socket's path is short.
FOLDER=$(mktemp -d /tmp/engine.XXXXXX)
SPACE=${FOLDER##*/}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
ip netns add "$SPACE"
ip -n "$SPACE" link set lo up
PATH=$programs:$PATH
DOCKER_HOST=unix://$FOLDER/docker.sock
export PATH DOCKER_HOST

nsenter "--net=/run/netns/$SPACE" dockerd --data-root "$FOLDER/data" --exec-root "$FOLDER/exec" \
	--pidfile "$FOLDER/pid" --host "$DOCKER_HOST" >"$FOLDER/log" 2>&1 </dev/null &
DOCKERD=$!
waited=0
until docker version >/dev/null 2>&1; do
	if ! kill -0 "$DOCKERD" 2>/dev/null || [ $waited -ge $WAIT_SECONDS ]; then
		tail -n 20 "$FOLDER/log" >&2
		die "the engine of $programs does not answer; its last lines are above"
	fi
	sleep 1
	waited=$((waited + 1))
done
printf 'on-engine: Docker %s, images kept by %s\n' "$(docker version --format '{{.Server.Version}}')" "$(docker info --format '{{.Driver}}')" >&2
nsenter "--net=/run/netns/$SPACE" "$@"
