#!/bin/sh
# up.sh: from a fresh clone to the sample application deployed on this machine,
# through everything that is real: the controller with its own PostgreSQL, the
# generated install script, the agent in Docker, a registry. Run again it keeps
# what is there, the agent included, starts a new build of the controller and
# deploys again.
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked on its own
. scripts/place.sh

# launch NAME ARGUMENT...: starts bin/NAME in a session of its own.
launch() {
	name=$1
	shift
	setsid nohup "$BIN/$name" "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
	launched=$!
	echo $launched >"$STATE/$name.pid"
}

# await NAME WHAT COMMAND...: waits until the command succeeds; when the process
# launched last ends before, its last log lines say why.
await() {
	name=$1 what=$2
	shift 2
	waited=0
	until "$@" >/dev/null 2>&1; do
		if ! kill -0 "$launched" 2>/dev/null; then
			tail -n 5 "$STATE/$name.log" >&2
			return 1
		fi
		[ $waited -lt 600 ] || die "$name runs but $what is not there after a minute; its log is $STATE/$name.log"
		sleep 0.1
		waited=$((waited + 1))
	done
}

ready() { curl -fsS "$CONTROLLER/readyz"; }
registry_answers() { curl -fsS "http://127.0.0.1:$REGISTRY_PORT/v2/"; }

build() {
	make build artifacts BIN="$BIN"
	say "building the registry and the quick start"
	version=$("$BIN/controller" version | cut -d ' ' -f 2)
	go build -trimpath -buildvcs=false -ldflags "-X fairlead.dev/shared/buildinfo.version=$version" \
		-o "$BIN/" ./e2e/registry/cmd/registry ./e2e/cmd/quickstart
}

start_registry() {
	if pid registry >/dev/null && registry_answers >/dev/null 2>&1; then return; fi
	stop registry # one at another port
	say "starting the registry at 127.0.0.1:$REGISTRY_PORT"
	: >"$STATE/registry.log"
	launch registry --addr "127.0.0.1:$REGISTRY_PORT" --storage "$STATE/registry"
	await registry "the registry" registry_answers ||
		die "the registry did not start; when its port is taken choose another: make up REGISTRY_PORT=5001"
}

start_controller() {
	# A running controller of the same build at the same ports is left alone.
	sum=$(cat "$BIN/controller" "$BIN"/artifacts/*.tar | sha256sum)$HTTP_PORT,$AGENT_PORT
	if pid controller >/dev/null; then
		if [ "$sum" = "$(cat "$STATE/controller.sum" 2>/dev/null)" ]; then return; fi
		say "stopping the controller of the previous build"
		stop controller
	fi
	if [ ! -s "$STATE/admin-password" ]; then
		(umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$STATE/admin-password")
	fi
	say "starting the controller at $CONTROLLER"
	: >"$STATE/controller.log"
	# The database is the built-in one, whatever this shell uses elsewhere.
	unset DATABASE_URL DATABASE_URL_FILE
	launch controller serve --state-dir "$STATE/state" --artifact-dir "$BIN/artifacts" \
		--http-addr "127.0.0.1:$HTTP_PORT" --public-url "$CONTROLLER" \
		--agent-addr "127.0.0.1:$AGENT_PORT" --agent-public-addr "127.0.0.1:$AGENT_PORT" \
		--admin-email "$EMAIL" --admin-password-file "$STATE/admin-password"
	await controller "$CONTROLLER/readyz" ready ||
		die "the controller did not start; its log is $STATE/controller.log. When a port is taken choose others: make up HTTP_PORT=8081 AGENT_PORT=8444"
	echo "$sum" >"$STATE/controller.sum"
}

keep_ports() {
	mkdir -p "$STATE"
	printf '%s\n' "HTTP_PORT=$HTTP_PORT" "AGENT_PORT=$AGENT_PORT" "APP_PORT=$APP_PORT" "REGISTRY_PORT=$REGISTRY_PORT" >"$STATE/ports"
}

main() {
	began=$(date +%s)
	check_ports
	command -v go >/dev/null 2>&1 || die "the go command is missing: install Go 1.26 or newer (https://go.dev/dl)"
	scripts/ensure-docker.sh
	scripts/ensure-postgres.sh
	scripts/ensure-registry.sh
	command -v curl >/dev/null 2>&1 || scripts/apt-install.sh curl
	build
	mkdir -p "$STATE"
	start_registry
	start_controller
	keep_ports
	say "deploying the sample application"
	"$BIN/quickstart" -controller "$CONTROLLER" -state "$STATE" -email "$EMAIL" \
		-registry "127.0.0.1:$REGISTRY_PORT" -app-port "$APP_PORT" up ||
		die "the sample application is not up; the reason is above. When port $APP_PORT is taken choose another: make up APP_PORT=8091"
	say "up after $(($(date +%s) - began)) seconds"
}

main
