#!/bin/sh
# place.sh: read by up.sh and down.sh, which share where things are. The state
# folder holds everything that make up makes, the chosen ports too: HTTP_PORT,
# AGENT_PORT, APP_PORT and REGISTRY_PORT choose others, and those stay chosen.
# shellcheck disable=SC2034 # used by the readers

STATE=$(pwd)/.fairlead
BIN=$(pwd)/bin
EMAIL=admin@fairlead.local

say() { printf '==> %s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# kept NAME DEFAULT: the port chosen the last time.
kept() {
	sed -n "s/^$1=//p" "$STATE/ports" 2>/dev/null | grep . || echo "$2"
}

: "${HTTP_PORT:=$(kept HTTP_PORT 8080)}" "${AGENT_PORT:=$(kept AGENT_PORT 8443)}"
: "${APP_PORT:=$(kept APP_PORT 8090)}" "${REGISTRY_PORT:=$(kept REGISTRY_PORT 5000)}"
CONTROLLER=http://127.0.0.1:$HTTP_PORT

# check_ports refuses what is no port, and one port for two.
check_ports() {
	seen=
	for choice in "HTTP_PORT=$HTTP_PORT" "AGENT_PORT=$AGENT_PORT" "APP_PORT=$APP_PORT" "REGISTRY_PORT=$REGISTRY_PORT"; do
		port=${choice#*=}
		case $port in '' | *[!0-9]* | ??????*) port=0 ;; esac
		if [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then die "$choice is not a port: give a number from 1 to 65535"; fi
		case " $seen " in *" $port "*) die "$choice is chosen for something else already: give each its own port" ;; esac
		seen="$seen $port"
	done
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
