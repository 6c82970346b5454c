#!/bin/sh
# down.sh: removes everything that up.sh made: deployments, agent, controller,
# registry and the state folder with the database in it.
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091 # checked on its own
. scripts/place.sh

# remove_containers FILTER: whatever matches, running or not.
remove_containers() {
	ids=$(docker ps --all --quiet --no-trunc --filter "$1")
	[ -n "$ids" ] || return 0
	# shellcheck disable=SC2086 # a list of words
	docker rm --force --volumes $ids >/dev/null
}

# remove_images REFERENCE: those that nothing else uses.
remove_images() {
	for id in $(docker images --quiet --no-trunc "$1" | sort -u); do
		docker image rm --force "$id" >/dev/null 2>&1 || :
	done
}

main() {
	if [ ! -d "$STATE" ]; then
		say "nothing to remove: there is no $STATE"
		return
	fi
	if pid controller >/dev/null && [ -x "$BIN/quickstart" ]; then
		say "deleting the deployments on this machine"
		"$BIN/quickstart" -controller "$CONTROLLER" -state "$STATE" -email "$EMAIL" down ||
			say "the controller could not do it; removing their containers here"
	fi
	if docker version >/dev/null 2>&1; then
		say "removing the agent and what is left of its containers"
		# Only this installation's: its agent, then what it ran.
		remove_containers "label=dev.fairlead.root-path=$STATE/agent"
		if [ -s "$STATE/deployments" ]; then
			while read -r id; do remove_containers "label=dev.fairlead.deployment=$id"; done <"$STATE/deployments"
		fi
		remove_images "fairlead/dagent"
		remove_images "127.0.0.1:$REGISTRY_PORT/sample"
	fi
	say "stopping the controller and the registry"
	stop controller
	stop registry
	say "removing $STATE: database, keys, logs, images"
	rm -rf "$STATE"
}

main
