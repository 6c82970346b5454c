# --- looking ------------------------------------------------------------------

# http_epoch TEXT: seconds since 1970 of an HTTP date, "Fri, 20 Nov 2026
# 18:25:50 GMT"; done by hand because no two date commands parse alike.
http_epoch() {
	# shellcheck disable=SC2086 # split on purpose
	set -- $1
	[ $# -ge 5 ] || return 1
	case $3 in
	Jan) m=13 ;; Feb) m=14 ;; Mar) m=3 ;; Apr) m=4 ;; May) m=5 ;; Jun) m=6 ;;
	Jul) m=7 ;; Aug) m=8 ;; Sep) m=9 ;; Oct) m=10 ;; Nov) m=11 ;; Dec) m=12 ;;
	*) return 1 ;;
	esac
	d=${2#0} y=$4 hms=$5
	case $d$y in '' | *[!0-9]*) return 1 ;; esac
	case $hms in [0-9][0-9]:[0-9][0-9]:[0-9][0-9]) ;; *) return 1 ;; esac
	if [ $m -gt 12 ]; then y=$((y - 1)); fi
	days=$((365 * y + y / 4 - y / 100 + y / 400 + (153 * (m - 3) + 2) / 5 + d - 1 - 719468))
	h=${hms%%:*} s=${hms##*:}
	i=${hms#*:} i=${i%:*}
	echo $((days * 86400 + ${h#0} * 3600 + ${i#0} * 60 + ${s#0}))
}

# container NAME FORMAT: one field of a container, nothing when there is none.
container() { docker container inspect --format "$2" "$1" 2>/dev/null || :; }
label() { container "$1" "{{index .Config.Labels \"$2\"}}"; }

check_tools() {
	[ -n "$ARCHIVE$REPOSITORY" ] || have curl || have wget || problem "neither curl nor wget is here: install the package curl"
	for tool in sha256sum mktemp tr cut tail grep sed df; do
		have $tool || problem "the command $tool is missing: install the package coreutils (grep and sed are their own)"
	done
}

check_docker() {
	case ${DOCKER_HOST:-} in
	'') SOCKET=/var/run/docker.sock ;;
	unix://*) SOCKET=${DOCKER_HOST#unix://} ;;
	*)
		problem "DOCKER_HOST is $DOCKER_HOST: the agent serves the engine of this machine, through a socket (unix:///…)"
		# What else there is to look at is not asked of an engine that may never answer.
		export DOCKER_HOST=unix:///var/run/docker.sock
		return 0
		;;
	esac
	if ! have docker; then
		problem "the docker command is missing: install Docker Engine 20.10 or newer (Debian: apt-get install docker.io)"
		return 0
	fi
	if [ ! -S "$SOCKET" ]; then
		problem "there is no Docker socket at $SOCKET: start the engine (systemctl start docker)"
		return 0
	fi
	unset DOCKER_CONTEXT DOCKER_TLS_VERIFY
	export DOCKER_HOST="unix://$SOCKET"
	if ! engine=$(docker version --format '{{.Server.Version}} {{.Server.Os}} {{.Server.Arch}}' 2>/dev/null); then
		if [ -w "$SOCKET" ]; then
			problem "the Docker Engine does not answer: $(docker version 2>&1 | tail -n 1)"
		else
			problem "user $(id -un) may not use Docker: run this as root (sudo sh …) or add the user to the group docker"
		fi
		return 0
	fi
	ENGINE=${engine%% *}
	major=${ENGINE%%.*} minor=${ENGINE#*.}
	minor=${minor%%[!0-9]*}
	case $major in '' | *[!0-9]*) major=0 ;; esac
	if [ "$major" -lt 20 ] || { [ "$major" -eq 20 ] && [ "${minor:-0}" -lt 10 ]; }; then
		problem "the Docker Engine is $ENGINE: the agent needs 20.10 or newer"
	fi
	case $engine in
	*' linux '*) ;;
	*) problem "the Docker Engine runs ${engine#* } containers: the agent needs linux" ;;
	esac
	ARCH=${engine##* }
}

check_artifact() {
	[ -n "${ARCH:-}" ] || return 0
	artifact_for "$ARCH" || problem "the controller has no agent for the architecture $ARCH"
	case ${BUNDLED:-$ARCH } in
	"$ARCH "*) ;;
	*) problem "this bundle is for ${BUNDLED%% *}, the engine's architecture is $ARCH: make another with --arch $ARCH" ;;
	esac
	[ -z "$REPOSITORY" ] || check_image
}

check_controller() {
	if [ -n "$ARCHIVE" ]; then
		[ -f "$ARCHIVE" ] || problem "there is no file $ARCHIVE"
		warn "clock not checked: with --archive the controller is not asked"
		return 0
	fi
	have curl || have wget || [ -n "$REPOSITORY" ] || return 0
	if ! fetch "$CONTROLLER_URL/livez" "$WORK/livez" "$WORK/headers"; then
		if [ -n "$REPOSITORY" ]; then
			warn "clock not checked: the controller does not answer at $CONTROLLER_URL, and need not for --image"
			return 0
		fi
		problem "the controller does not answer at $CONTROLLER_URL: $(fetch_error)"
		return 0
	fi
	date=$(tr -d '\r' <"$WORK/headers" | grep -i '^ *date:' | tail -n 1 || :)
	if ! theirs=$(http_epoch "${date#*:}"); then
		warn "clock not checked: the controller sent no date"
		return 0
	fi
	off=$(($(date +%s) - theirs))
	if [ "${off#-}" -gt $CLOCK_SECONDS ]; then
		problem "this machine's clock is ${off#-} seconds off the controller's: certificates would be refused; set the clock"
	fi
}

# check_space FOLDER KIB WHAT; the nearest folder that exists is measured.
check_space() {
	folder=$1
	while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
	free=$(df -Pk "$folder" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4) || return 0
	case $free in '' | *[!0-9]*) return 0 ;; esac
	if [ "$free" -lt "$2" ]; then
		problem "$folder has $free KiB free, $3 needs $2"
	fi
}

check_room() {
	[ -n "${ARTIFACT_SIZE:-}" ] || return 0
	kib=$((ARTIFACT_SIZE / 1024 + 1))
	[ -n "$REPOSITORY" ] || check_space "$WORK" $((kib + 10240)) "the download"
	store=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null || :)
	if [ -d "$store" ]; then check_space "$store" $((kib * 4)) "the agent's image"; fi
	check_space "$ROOT_PATH" 10240 "the agent's state"
}

check_root_path() {
	folder=$ROOT_PATH
	while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
	if [ ! -d "$folder" ]; then
		problem "$folder is not a folder: the agent keeps its state in $ROOT_PATH"
	elif [ ! -w "$folder" ]; then
		problem "user $(id -un) may not write to $folder: run this as root (sudo sh …)"
	fi
}

record() { printf 'node %s\nroot %s\n' "$NODE_ID" "$ROOT_SHA256"; }

# check_record makes sure that the state folder, when used, is this node's.
check_record() {
	[ -e "$ROOT_PATH/install" ] || return 0
	# What is left of a node that was deleted is in no other node's way.
	if [ "$ACT" = install_agent ] && [ -e "$ROOT_PATH/deleted" ]; then return 0; fi
	[ "$(cat "$ROOT_PATH/install")" = "$(record)" ] ||
		problem "$ROOT_PATH belongs to another installation ($(tr '\n' ' ' <"$ROOT_PATH/install")): uninstall that first"
}

# check_identity decides between keeping the key this node has and enrolling.
check_identity() {
	KEEP=
	if [ -e "$ROOT_PATH/deleted" ] && [ -z "$AGAIN" ]; then
		if [ "$(cat "$ROOT_PATH/install" 2>/dev/null)" = "$(record)" ]; then
			problem "node $NODE_NAME was deleted: make another node and a script for it; should this one be there again, make a new script and run it with --enrol-again"
			return 0
		fi
		AGAIN=yes
	fi
	if [ -e "$ROOT_PATH/identity" ] && [ -z "$AGAIN" ]; then
		if [ ! -e "$ROOT_PATH/install" ]; then
			problem "$ROOT_PATH/identity is from an unknown installation: use --enrol-again to replace it"
		fi
		if [ -e "$ROOT_PATH/revoked" ]; then
			problem "this node's key was revoked: make a new script for node $NODE_NAME and run it with --enrol-again"
		fi
		KEEP=yes
		return 0
	fi
	if [ "$(date +%s)" -ge "$EXPIRES_EPOCH" ]; then
		problem "the token in this script expired at $EXPIRES: make a new script for node $NODE_NAME"
	fi
}

# check_names finds the agent's containers; those of others are left alone.
check_names() {
	have docker && [ -n "${ARCH:-}" ] || return 0
	for name in "$CONTAINER" "$CONTAINER-previous" "$CONTAINER-next"; do
		[ -n "$(container "$name" '{{.Id}}')" ] || continue
		owner=$(label "$name" dev.fairlead.agent)
		case $owner in
		"$NODE_ID") ;;
		'') problem "a container named $name is here already and is not a Fairlead agent: rename or remove it" ;;
		*) problem "the container $name serves another node ($owner): uninstall that first" ;;
		esac
	done
}

# older ONE OTHER: whether version ONE comes before OTHER. Numbers are compared,
# and whether one is a pre-release; what cannot be compared is not older.
older() {
	one=${1%%+*} other=${2%%+*}
	a=${one%%-*} b=${other%%-*}
	while [ -n "$a$b" ]; do
		x=${a%%.*} y=${b%%.*}
		x=${x:-0} y=${y:-0}
		case $x$y in *[!0-9]*) return 1 ;; esac
		if [ "$x" -ne "$y" ]; then
			[ "$x" -lt "$y" ]
			return
		fi
		case $a in *.*) a=${a#*.} ;; *) a= ;; esac
		case $b in *.*) b=${b#*.} ;; *) b= ;; esac
	done
	case $other in *-*) return 1 ;; esac
	case $one in *-*) ;; *) return 1 ;; esac
}

# check_version keeps an old script from bringing an old agent back.
check_version() {
	[ -z "$DOWN" ] || return 0
	if [ -x "$ROOT_PATH/bin/dagent" ]; then
		installed=$("$ROOT_PATH/bin/dagent" version 2>/dev/null | cut -d ' ' -f 2) || installed=
	else
		installed=$(container "$CONTAINER" '{{.Config.Image}}')
		installed=${installed##*:}
	fi
	if [ -n "$installed" ] && older "$VERSION" "$installed"; then
		problem "the agent here is $installed, newer than this script's $VERSION: make a new script for node $NODE_NAME, or use --downgrade"
	fi
}

# installed_setting NAME: what the installed agent was given for a variable.
installed_setting() {
	if [ -f "$ROOT_PATH/service.env" ]; then
		while IFS= read -r line; do
			line=${line%\"}
			case $line in "$1="*) printf '%s' "${line#*=\"}" ;; esac
		done <"$ROOT_PATH/service.env"
		return 0
	fi
	container "$CONTAINER" '{{range .Config.Env}}{{println .}}{{end}}' | while IFS= read -r line; do
		case $line in "$1="*) printf '%s' "${line#*=}" ;; esac
	done
}

# check_policy takes what containers may have of this host from the environment,
# what that does not say from this script, and the rest from the installed agent.
check_policy() {
	# The copy of this script that stays on the machine does not say it again:
	# by then somebody may have said otherwise.
	if [ -n "${ACME_EMAIL:-}" ]; then
		DAGENT_ACME_EMAIL=${DAGENT_ACME_EMAIL-$ACME_EMAIL}
		DAGENT_ROUTING=${DAGENT_ROUTING-edge}
	fi
	for name in $POLICY; do
		eval "said=\${$name+yes}"
		if [ -z "$said" ]; then eval "$name=\$(installed_setting $name)"; fi
		export "${name?}"
	done
	old_ifs=$IFS
	IFS=:
	for folder in $DAGENT_ALLOW_HOST_PATHS; do
		[ -d "$folder" ] || problem "DAGENT_ALLOW_HOST_PATHS: $folder is not a folder of this machine"
	done
	IFS=$old_ifs
}

same_policy() {
	for name in $POLICY; do
		eval "value=\${$name:-}"
		[ "$value" = "$(installed_setting "$name")" ] || return 1
	done
}

# service_is_build: whether the service runs this script's build. One that has
# replaced itself is called after the update, whose record tells the digest.
service_is_build() {
	[ "$(installed_build)" != "$(build_name)" ] || return 0
	update=$(installed_build)
	[ -f "$ROOT_PATH/update.json" ] && grep -q "\"id\": \"${update#dagent.}\"" "$ROOT_PATH/update.json" &&
		grep -q "\"digest\": \"sha256:$ARTIFACT_SHA256\"" "$ROOT_PATH/update.json"
}

up_to_date() {
	if [ "$MODE" = service ]; then
		[ -n "$KEEP" ] && [ -e "$ROOT_PATH/enrolled" ] && [ -e "$(service_file)" ] && service_active &&
			service_is_build && [ -x "$ROOT_PATH/bin/dagent" ] &&
			[ -z "$(container "$CONTAINER" '{{.Id}}')" ] && same_policy
		return
	fi
	[ ! -e "$ROOT_PATH/bin" ] || return 1
	[ -n "$KEEP" ] && [ -e "$ROOT_PATH/enrolled" ] &&
		[ "$(container "$CONTAINER" '{{.State.Status}}')" = running ] &&
		[ "$(label "$CONTAINER" dev.fairlead.artifact)" = "$ARTIFACT_SHA256" ] &&
		[ "$(label "$CONTAINER" dev.fairlead.root-path)" = "$ROOT_PATH" ] &&
		[ -z "$(container "$CONTAINER-previous" '{{.Id}}')" ] &&
		[ -z "$(container "$CONTAINER-next" '{{.Id}}')" ] && same_policy
}

stop_if_problems() {
	[ "$PROBLEMS" -eq 0 ] || die "nothing was changed; problems found: $PROBLEMS"
}
