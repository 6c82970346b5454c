#!/bin/sh
# place.sh: read by up.sh and down.sh, which share where things are. The state
# folder holds everything that make up makes; ports chosen once are kept in it.
# HTTP_PORT, AGENT_PORT, APP_PORT and REGISTRY_PORT choose others the first time.
# shellcheck disable=SC2034 # used by the readers

STATE=$(pwd)/.fairlead
BIN=$(pwd)/bin
EMAIL=admin@fairlead.local

: "${HTTP_PORT:=8080}" "${AGENT_PORT:=8443}" "${APP_PORT:=8090}" "${REGISTRY_PORT:=5000}"
# shellcheck disable=SC1091 # made by up.sh
if [ -e "$STATE/ports" ]; then . "$STATE/ports"; fi
CONTROLLER=http://127.0.0.1:$HTTP_PORT

say() { printf '==> %s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# pid NAME: the process that up.sh started under this name, if it still runs.
pid() {
	[ -s "$STATE/$1.pid" ] || return 1
	read -r found <"$STATE/$1.pid"
	[ -r "/proc/$found/cmdline" ] || return 1
	tr '\000' ' ' <"/proc/$found/cmdline" | grep -q "^$BIN/$1 " || return 1
	echo "$found"
}

# stop NAME: ends such a process and waits for its end.
stop() {
	running=$(pid "$1") || return 0
	kill "$running"
	waited=0
	while kill -0 "$running" 2>/dev/null; do
		[ $waited -lt 300 ] || die "$1 (process $running) does not end; its log is $STATE/$1.log"
		sleep 0.1
		waited=$((waited + 1))
	done
	rm -f "$STATE/$1.pid"
}
