# --- doing --------------------------------------------------------------------

# recover finishes what an earlier run left when it was killed in the middle.
recover() {
	# An agent that was about to replace itself, or whose new build was: this
	# script's takes the place of both.
	if [ -n "$(container "$CONTAINER-next" '{{.Id}}')" ]; then
		say "an update of the agent is under way: it ends here"
		if [ -z "$(container "$CONTAINER" '{{.Id}}')" ]; then
			docker rename "$CONTAINER-next" "$CONTAINER"
		else
			docker rm --force "$CONTAINER-next" >/dev/null
		fi
	fi
	[ -n "$(container "$CONTAINER-previous" '{{.Id}}')" ] || return 0
	say "an earlier run was interrupted: putting the previous agent back first"
	if [ -n "$(container "$CONTAINER" '{{.Id}}')" ]; then docker rm --force "$CONTAINER" >/dev/null; fi
	docker rename "$CONTAINER-previous" "$CONTAINER"
}

set_aside() {
	OLD_BUILD=$(installed_build)
	if [ -n "$OLD_BUILD" ]; then
		if service_active; then OLD_SERVICE=yes; fi
		say "stopping the previous agent"
		stop_service
	fi
	OLD_IMAGE=$(container "$CONTAINER" '{{.Image}}')
	OLD_TAG=$(container "$CONTAINER" '{{.Config.Image}}')
	OLD_RUNNING=$(container "$CONTAINER" '{{if .State.Running}}yes{{end}}')
	old=$(container "$CONTAINER" '{{.Id}}')
	[ -n "$old" ] || return 0
	say "stopping the previous agent"
	OLD_ID=$old
	docker stop --time 30 "$OLD_ID" >/dev/null
	docker rename "$OLD_ID" "$CONTAINER-previous"
}

prepare_state() {
	mkdir -p "$ROOT_PATH"
	rm -f "$ROOT_PATH/enrolled" "$ROOT_PATH/enrol-error" "$ROOT_PATH/enrol.json"
	rm -f "$ROOT_PATH/update.json" "$ROOT_PATH/update.proof" "$ROOT_PATH/update.tar" "$ROOT_PATH/update.tar.part"
	# What the agent checks later builds by.
	printf '%s\n' "$RELEASE_KEY_RAW" >"$ROOT_PATH/release-keys.new"
	mv "$ROOT_PATH/release-keys.new" "$ROOT_PATH/release-keys"
	[ -z "$KEEP" ] || return 0
	aside='identity revoked deleted'
	if [ "$(cat "$ROOT_PATH/install" 2>/dev/null)" != "$(record)" ]; then aside="$aside install"; fi
	for name in $aside; do
		rm -rf "${ROOT_PATH:?}/$name.previous"
		[ -e "$ROOT_PATH/$name" ] || continue
		ASIDE="$ASIDE $name"
		mv "$ROOT_PATH/$name" "$ROOT_PATH/$name.previous"
	done
	if [ ! -e "$ROOT_PATH/install" ]; then
		[ -e "$ROOT_PATH/install.previous" ] || WROTE_RECORD=yes
		record >"$ROOT_PATH/install.new"
		mv "$ROOT_PATH/install.new" "$ROOT_PATH/install"
	fi
	[ -n "${ENROLMENT:-}" ] || die "this copy of the script carries no token: make a new install script for the node"
	printf '%s\n' "$ENROLMENT" >"$ROOT_PATH/enrol.json.new"
	mv "$ROOT_PATH/enrol.json.new" "$ROOT_PATH/enrol.json"
}

start_agent() {
	if [ "$MODE" = service ]; then
		start_as_service
		return 0
	fi
	[ -n "$REPOSITORY" ] || docker load --quiet --input "$WORK/agent.tar" >/dev/null
	docker image inspect "$IMAGE" >/dev/null 2>&1 || die "the archive does not hold the image $IMAGE"
	set -- --name "$CONTAINER" --restart always --network host \
		--label "dev.fairlead.agent=$NODE_ID" \
		--label "dev.fairlead.artifact=$ARTIFACT_SHA256" \
		--label "dev.fairlead.root-path=$ROOT_PATH" \
		--security-opt label=disable \
		--log-driver json-file --log-opt max-size=10m --log-opt max-file=3 \
		--volume "$SOCKET:/var/run/docker.sock" \
		--volume "$ROOT_PATH:$ROOT_PATH" \
		--volume "/run/$CONTAINER:/run/$CONTAINER" \
		--env "FAIRLEAD_STATE_DIR=$ROOT_PATH" \
		--env "DAGENT_SECRETS_DIR=/run/$CONTAINER/secrets"
	for name in $POLICY; do
		eval "value=\${$name:-}"
		if [ -n "$value" ]; then set -- "$@" --env "$name"; fi
	done
	# The agent looks where these lead; it writes nothing there.
	old_ifs=$IFS
	IFS=:
	for folder in ${DAGENT_ALLOW_HOST_PATHS:-}; do
		case $folder in "$ROOT_PATH" | /) ;; *) set -- "$@" --volume "$folder:$folder:ro" ;; esac
	done
	IFS=$old_ifs
	# A name without a value takes the value from here: not on a command line.
	for name in HTTPS_PROXY HTTP_PROXY NO_PROXY https_proxy http_proxy no_proxy; do
		value=
		eval "value=\${$name:-}"
		case $value in
		'') ;;
		*@*) warn "$name holds a password and is not given to the agent: it would be readable in docker inspect" ;;
		*) set -- "$@" --env "$name" ;;
		esac
	done
	say "starting the agent as the container $CONTAINER"
	NEW_ID=$(docker create --pull never "$@" "$IMAGE" 2>"$WORK/create.err") || NEW_ID=
	[ -n "$NEW_ID" ] || die "could not create the container: $(tail -n 1 "$WORK/create.err")"
	docker start "$NEW_ID" >/dev/null
}

# plain drops control characters, so that foreign text cannot play with the terminal.
plain() { tr -d '\000-\010\013-\037\177'; }

last_words() {
	if [ -s "$ROOT_PATH/enrol-error" ]; then
		warn "the agent says: $(head -c 2000 "$ROOT_PATH/enrol-error" | plain)"
	fi
	if [ "$MODE" = service ]; then
		service_words
		return 0
	fi
	warn "its last log lines:"
	docker logs --tail 20 "$NEW_ID" 2>&1 | plain >&2 || :
}

wait_for_agent() {
	waited=0
	while [ ! -e "$ROOT_PATH/enrolled" ]; do
		if [ -s "$ROOT_PATH/enrol-error" ]; then
			last_words
			die "the agent could not enrol"
		fi
		# State, restarts and exit code; three restarts are a crash loop.
		if [ "$MODE" = service ]; then
			state=$(service_state)
		else
			state=$(container "$NEW_ID" '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}')
		fi
		case $state in
		running\ [012]\ * | restarting\ [012]\ *) ;;
		*)
			last_words
			die "the agent ended (${state%% *}, exit code ${state##* })"
			;;
		esac
		case $KEEP$state in 'yesrunning 0 '*)
			if [ $waited -ge $STEADY_SECONDS ]; then
				say "the agent runs with the key it had; it has not said yet that it is connected"
				return 0
			fi
			;;
		esac
		if [ $waited -ge $WAIT_SECONDS ]; then
			last_words
			die "the agent was not enrolled within $WAIT_SECONDS seconds; it must reach $AGENT_ADDR"
		fi
		sleep 1
		waited=$((waited + 1))
	done
}

# remove_image ID TAG: by its tag while that is still its own, since other tags
# of the same image are somebody else's. Fails when a container uses it.
remove_image() {
	if [ "$(docker image inspect --format '{{.Id}}' "$2" 2>/dev/null)" = "$1" ]; then
		docker image rm "$2" >/dev/null 2>&1
	else
		docker image rm "$1" >/dev/null 2>&1
	fi
}

# updated_versions prints what the agent's last update was from and to.
updated_versions() {
	if [ -f "$ROOT_PATH/update.json" ]; then
		sed -n -e 's/^ *"from": "\([0-9A-Za-z._-]*\)",*$/\1/p' -e 's/^ *"to": "\([0-9A-Za-z._-]*\)",*$/\1/p' "$ROOT_PATH/update.json"
	fi
}

commit() {
	CHANGING=
	: >"$ROOT_PATH/enrolled"
	keep_script
	rm -rf "$ROOT_PATH/enrol.json" "$ROOT_PATH/identity.previous" "$ROOT_PATH/revoked.previous" \
		"$ROOT_PATH/deleted.previous" "$ROOT_PATH/install.previous"
	if [ "$MODE" = service ]; then
		for program in "$ROOT_PATH"/bin/dagent.*; do
			[ "$program" = "$ROOT_PATH/bin/$BUILD" ] || rm -f "$program"
		done
	elif [ -e "$ROOT_PATH/bin" ]; then
		remove_service
	fi
	if [ -n "$OLD_ID" ]; then docker rm --force "$OLD_ID" >/dev/null; fi
	if [ -n "$OLD_IMAGE" ] && [ "$OLD_IMAGE $OLD_TAG" != "$(container "$NEW_ID" '{{.Image}} {{.Config.Image}}')" ]; then
		remove_image "$OLD_IMAGE" "$OLD_TAG" || :
	fi
}

# remove_edge removes the proxy that the agent ran, its network and its image.
remove_edge() {
	for id in $(docker ps --all --quiet --no-trunc --filter "label=dev.fairlead.edge=$ROOT_PATH/edge"); do
		name=$(container "$id" '{{.Name}}')
		if [ -n "$DRY" ]; then
			say "would remove the proxy's container ${name#/}: what it serves is no longer served"
			continue
		fi
		docker stop --time 15 "$id" >/dev/null
		docker rm --force --volumes "$id" >/dev/null
		say "removed the proxy's container ${name#/}"
	done
	for id in $(docker network ls --quiet --no-trunc --filter "label=dev.fairlead.edge=$ROOT_PATH/edge"); do
		name=$(docker network inspect --format '{{.Name}}' "$id")
		if [ -n "$DRY" ]; then
			say "would remove the network $name"
		elif docker network rm "$id" >/dev/null 2>&1; then
			say "removed the network $name"
		else
			# An agent that is installed here again goes on with it.
			warn "the network $name stays: containers that keep running are in it; when they are gone: docker network rm $name"
		fi
	done
	# What the agent wrote down is what it loaded; any other image is not its own.
	[ -f "$ROOT_PATH/edge-image.json" ] || return 0
	image=$(cat "$ROOT_PATH/edge-image.json")
	image=${image#*'"image":"'}
	image=${image%%'"'*}
	case ${image#sha256:} in '' | *[!0-9a-f]* | "$image") return 0 ;; esac
	docker image inspect "$image" >/dev/null 2>&1 || return 0
	if [ -n "$DRY" ]; then
		say "would remove the proxy's image"
	else
		docker image rm "$image" >/dev/null 2>&1 || warn "the proxy's image $image stays: something else uses it"
	fi
}

# filler_of ID: the image that this agent fills volumes with. It holds the
# agent's own program and is named after its digest.
filler_of() {
	docker cp "$1:$(container "$1" '{{.Path}}')" "$WORK/program" >/dev/null 2>&1 || return 0
	printf 'fairlead/filler:%s' "$(sha256_of "$WORK/program" | cut -c 1-16)"
	rm -f "$WORK/program"
}

# script_alone prints this script without the archive that may follow it.
script_alone() { sed '/^{ main "$@"; }$/q' "$0"; }

# write_bundle makes one file of this script, the archive and its signature. The
# shell reads it to the line after the script and no further.
write_bundle() {
	[ -f "$0" ] || die "--bundle needs this script as a file"
	[ ! -e "$BUNDLE" ] || die "$BUNDLE is there already"
	case ${BUNDLE_ARCH:-$(uname -m)} in
	amd64 | x86_64) ARCH=amd64 ;;
	arm64 | aarch64) ARCH=arm64 ;;
	*) die "there is no agent for the architecture ${BUNDLE_ARCH:-$(uname -m)}" ;;
	esac
	artifact_for "$ARCH" || die "the controller has no agent for the architecture $ARCH"
	take_archive
	if [ ! -f "$WORK/agent.sig" ]; then
		fetch "$CONTROLLER_URL$ARTIFACT_PATH.sig" "$WORK/agent.sig" ||
			die "could not download the agent's signature $CONTROLLER_URL$ARTIFACT_PATH.sig: $(fetch_error)"
	fi
	{
		script_alone | sed "s|^BUNDLED=.*|BUNDLED='$ARCH $(tr -dc 'A-Za-z0-9+/=' <"$WORK/agent.sig")'|"
		echo exit
		cat "$WORK/agent.tar"
	} >"$BUNDLE.part" || die "could not write $BUNDLE"
	mv "$BUNDLE.part" "$BUNDLE"
	say "$BUNDLE holds the agent $VERSION for linux/$ARCH and this node's token, good until $EXPIRES"
	say "its SHA-256 is $(sha256_of "$BUNDLE"): compare it on the machine (sha256sum), then run there: sh ${BUNDLE##*/}"
}

# unpack_bundle takes the archive off the end of this file; it is checked like one
# that was downloaded.
unpack_bundle() {
	artifact_for "${BUNDLED%% *}" || die "this bundle is broken"
	ARCHIVE=$WORK/bundle.tar
	tail -c "$ARTIFACT_SIZE" "$0" >"$ARCHIVE" || die "could not read the archive in $0"
	printf '%s\n' "${BUNDLED#* }" >"$ARCHIVE.sig"
}

# keep_script leaves this script on the node, without its token, so that the
# agent can be removed or brought in order later: the controller serves a script
# only until its token is used.
keep_script() {
	[ -f "$0" ] || return 0
	script_alone | grep -v -e '^ENROLMENT=' -e '^ACME_EMAIL=' -e '^BUNDLED=' >"$ROOT_PATH/install.sh.new"
	mv "$ROOT_PATH/install.sh.new" "$ROOT_PATH/install.sh"
}

# put_back undoes a run that did not get to its end.
put_back() {
	if [ "$MODE" = service ]; then put_service_back; fi
	if [ -n "$NEW_ID" ]; then
		docker rm --force "$NEW_ID" >/dev/null 2>&1 || warn "could not remove the new container $NEW_ID"
	fi
	# A refused key is of no use. One whose answer may only have been lost stays:
	# the token is bound to it.
	if [ -s "$ROOT_PATH/enrol-error" ]; then rm -rf "$ROOT_PATH/identity.new"; fi
	rm -f "$ROOT_PATH/enrol.json" "$ROOT_PATH/enrol.json.new" "$ROOT_PATH/enrol-error"
	for name in $ASIDE; do
		rm -rf "${ROOT_PATH:?}/$name"
		mv "$ROOT_PATH/$name.previous" "$ROOT_PATH/$name" || warn "what was $name is in $ROOT_PATH/$name.previous"
	done
	# An agent that enrolled after all has spent the token: its key stays.
	if [ -n "$WROTE_RECORD" ] && [ ! -e "$ROOT_PATH/identity" ]; then rm -f "$ROOT_PATH/install"; fi
	if [ "$MODE" = container ] && [ -n "$OLD_SERVICE" ]; then
		if start_service >/dev/null 2>&1; then warn "the previous agent is back"; fi
	fi
	if [ -n "$OLD_ID" ]; then
		docker rename "$OLD_ID" "$CONTAINER" 2>/dev/null || :
		if [ -n "$OLD_RUNNING" ]; then docker start "$OLD_ID" >/dev/null || :; fi
		warn "the previous agent is back"
	else
		docker image rm "$IMAGE" >/dev/null 2>&1 || :
		[ -e "$ROOT_PATH/identity" ] || rm -f "$ROOT_PATH/lock" "$ROOT_PATH/session" "$ROOT_PATH/release-keys"
		# What the agent made before it was refused, where it holds nothing: a key
		# of secrets is of no use where no secrets are kept.
		if rmdir "$ROOT_PATH/secrets/sets" 2>/dev/null; then rm -f "$ROOT_PATH/secrets/key"; fi
		rmdir "$ROOT_PATH/secrets" "$ROOT_PATH/logs" "$ROOT_PATH/edge" "/run/$CONTAINER/secrets" "/run/$CONTAINER" 2>/dev/null || :
		rmdir "$ROOT_PATH" 2>/dev/null || :
	fi
}

finish() {
	status=$?
	trap - EXIT
	trap '' INT TERM HUP
	if [ -n "$CHANGING" ]; then put_back; fi
	if [ -n "$WORK" ]; then rm -rf "$WORK"; fi
	exit $status
}
