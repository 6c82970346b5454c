#!/bin/sh
# bench-up.sh: how long make up takes in a fresh clone of the last commit, as a
# line of figures; what it made is removed again. Go's build cache is as it is,
# so that the first time on a machine also shows the compiler.
set -eu
cd "$(dirname "$0")/.."

if [ -n "$(docker ps --all --quiet --filter 'name=^/demo-sample$')" ]; then
	echo "bench-up.sh: this machine has a sample application from make up; run make down there first" >&2
	exit 1
fi
clone=$(mktemp -d)
log=$(mktemp)
ports='HTTP_PORT=18180 AGENT_PORT=18543 APP_PORT=18190 REGISTRY_PORT=15100'
finish() {
	status=$?
	trap - EXIT
	# shellcheck disable=SC2086 # a list of words
	make -C "$clone" down $ports >>"$log" 2>&1 || status=1
	[ $status = 0 ] || cat "$log" >&2
	rm -rf "$clone" "$log"
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

git clone --quiet . "$clone"
# shellcheck disable=SC2086 # a list of words
make -C "$clone" up $ports >"$log" 2>&1
seconds=$(sed -n 's/^==> up after \([0-9]*\) seconds$/\1/p' "$log")
[ -n "$seconds" ]
printf 'make_up_wall_time\t%s\ts\t-\t-\n' "$seconds"
