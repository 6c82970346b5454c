#!/bin/sh
# Installs the Fairlead agent for Docker on this machine. Made by the controller
# for one node; try --help. POSIX sh: runs in dash, bash and busybox.
#
# Nothing runs before the last line has been read: a script cut short on its
# way is a syntax error and does nothing.
set -eu
umask 077

NODE_ID='2f1c9d6e-0000-4000-8000-000000000001'
NODE_NAME='web-1'
CONTROLLER_URL='https://fairlead.example.org'
AGENT_ADDR='fairlead.example.org:8443'
ROOT_SHA256='0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'
ENROLMENT='{"controller":"fairlead.example.org:8443","rootSha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","token":"example-token-0123456789","nodeName":"web-1"}'
EXPIRES='2026-01-02T03:04:05Z'
EXPIRES_EPOCH='1767323045'
ROOT_PATH='/var/lib/fairlead-agent'
ACME_EMAIL='admin@example.org'
CONTAINER='fairlead-agent'
IMAGE='fairlead/dagent:1.2.3'
VERSION='1.2.3'
RELEASE_KEY='-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=
-----END PUBLIC KEY-----
'
RELEASE_KEY_RAW='O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik='
# Architecture and signature of the archive that follows this script in a bundle.
BUNDLED=

# How long the agent may take to be enrolled, and how far this clock may be
# from the controller's: certificates are checked against it.
WAIT_SECONDS=60
CLOCK_SECONDS=300
# An agent that keeps its key and runs this long without a restart is trusted,
# even when the controller cannot be reached just now.
STEADY_SECONDS=10

# Where service managers are told of services.
SYSTEMD_RUNS=/run/systemd/system
SYSTEMD_UNITS=/etc/systemd/system
OPENRC_SERVICES=/etc/init.d

# What containers may have of this host and how they are served, for whoever
# installs the agent to say.
POLICY='DAGENT_ALLOW_HOST_PATHS DAGENT_ALLOW_HOST_NETWORK DAGENT_ALLOW_CAPABILITIES DAGENT_ALLOW_LOCAL_STORAGE
DAGENT_KEEP_RELEASES DAGENT_MIN_FREE_DISK
DAGENT_ROUTING DAGENT_DEFAULT_DOMAIN DAGENT_HTTP_PORT DAGENT_HTTPS_PORT DAGENT_ACME_EMAIL DAGENT_ACME_DIRECTORY DAGENT_ACME_ROOTS
DAGENT_TRUSTED_PROXIES DAGENT_EDGE_IMAGE
DAGENT_TRAEFIK_NETWORK DAGENT_TRAEFIK_ENTRYPOINT DAGENT_TRAEFIK_SECURE_ENTRYPOINT DAGENT_TRAEFIK_CERT_RESOLVER'

# What EXIT has to put in order.
WORK=
NEW_ID=
OLD_ID=
OLD_RUNNING=
OLD_IMAGE=
OLD_TAG=
OLD_BUILD=
OLD_SERVICE=
BUILD=
ASIDE=
WROTE_RECORD=
CHANGING=
PROBLEMS=0

artifact_for() {
	case $1 in
	amd64)
		ARTIFACT_PATH='/artifacts/dagent/1.2.3/linux-amd64.tar'
		ARTIFACT_SHA256='a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1'
		ARTIFACT_SIZE='12345678'
		# What a registry has the archive's image by, and what an engine has it by.
		IMAGE_DIGEST='sha256:a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2'
		IMAGE_ID='sha256:a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3'
		;;
	arm64)
		ARTIFACT_PATH='/artifacts/dagent/1.2.3/linux-arm64.tar'
		ARTIFACT_SHA256='b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2'
		ARTIFACT_SIZE='11345678'
		# What a registry has the archive's image by, and what an engine has it by.
		IMAGE_DIGEST='sha256:b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3'
		IMAGE_ID='sha256:b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4'
		;;
	*) return 1 ;;
	esac
}

say() { printf 'fairlead: %s\n' "$*"; }
warn() { printf 'fairlead: %s\n' "$*" >&2; }
die() {
	warn "$@"
	exit 1
}
problem() {
	warn "problem: $*"
	PROBLEMS=$((PROBLEMS + 1))
}
have() { command -v "$1" >/dev/null 2>&1; }

# quoted WORD prints it as it has to be typed.
quoted() {
	case $1 in
	*[!A-Za-z0-9._/+-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
	*) printf '%s' "$1" ;;
	esac
}

usage() {
	cat <<'USAGE'
usage: sh install.sh [option]

Without an option: installs the agent, or brings the installed one in order.
Run again it changes nothing when there is nothing to change.

  --dry-run       check everything and say what would be done; change nothing
  --enrol-again   forget this node's key and enrol with the token in this script
  --archive FILE  take the agent from a file, its signature from FILE.sig, and ask
                  the controller for nothing: for a machine that reaches only
                  the address agents dial; both are checked as ever
  --image REFERENCE
                  have the engine pull the agent from a registry that has it,
                  instead of from the controller; whatever tag is said, by the
                  digest that this script pins. Not for --service
  --service       run the agent as a service of this machine (systemd or OpenRC)
                  instead of in a container; from then on that is how it is run
  --container     run it in a container again
  --bundle FILE   write one file that holds this script, the archive and its
                  signature, to be run on a machine without access to the
                  controller's HTTP address; --arch amd64 or arm64 for one unlike
                  this. Nothing is installed here
  --downgrade     replace a newer agent than this script's too
  --uninstall     remove the agent and its proxy; the containers it started
                  keep running
  --show          print what this script carries, except the token
  --version       print the version of the agent this script installs
  --help          print this

A proxy is taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY. Another Docker
socket than /var/run/docker.sock is taken from DOCKER_HOST=unix:///….

What containers may have of this host beyond themselves is taken from
DAGENT_ALLOW_HOST_PATHS (folders, separated by ':'), DAGENT_ALLOW_HOST_NETWORK
(true), DAGENT_ALLOW_CAPABILITIES (separated by ',') and
DAGENT_ALLOW_LOCAL_STORAGE (true), how they are served from DAGENT_ROUTING (edge,
traefik or off), DAGENT_DEFAULT_DOMAIN, DAGENT_ACME_EMAIL and the others of the
manual, of how many releases images stay from DAGENT_KEEP_RELEASES (3), and what
must be free for a pull from DAGENT_MIN_FREE_DISK (1GiB); what is not set is what
this script was made with, or stays as it was installed.

Exit code: 0 done, 1 failed (what was there before is back), 2 wrong option.
USAGE
}

show() {
	printf 'node=%s\nname=%s\ncontroller=%s\nagent=%s\nroot=%s\n' \
		"$NODE_ID" "$NODE_NAME" "$CONTROLLER_URL" "$AGENT_ADDR" "$ROOT_SHA256"
	printf 'path=%s\ncontainer=%s\nimage=%s\nversion=%s\nexpires=%s\n' \
		"$ROOT_PATH" "$CONTAINER" "$IMAGE" "$VERSION" "$EXPIRES"
}

# --- fetching -----------------------------------------------------------------

# fetch URL FILE [HEADERS]: downloads over whichever of curl and wget is here.
fetch() {
	if have curl; then
		curl -fsSL --connect-timeout 20 --speed-time 60 --speed-limit 1 \
			-D "${3:-/dev/null}" -o "$2" "$1" 2>"$WORK/fetch.err"
	elif wget --help 2>&1 | grep -q BusyBox; then
		# No -T: builds without it crash on the option.
		wget -S -O "$2" "$1" 2>"$WORK/fetch.err"
	else
		wget -nv -S -T 60 -t 2 -O "$2" "$1" 2>"$WORK/fetch.err"
	fi || return 1
	if [ -n "${3:-}" ] && ! have curl; then cp "$WORK/fetch.err" "$3"; fi
}

# fetch_error prints why the last fetch failed, on one line.
fetch_error() { tail -n 3 "$WORK/fetch.err" 2>/dev/null | tr '\n' ' '; }

sha256_of() { sha256sum <"$1" | cut -d ' ' -f 1; }

# take_archive leaves the agent's archive at $WORK/agent.tar, checked: its SHA-256
# is pinned in this script, whose own is pinned in the pasted command; and where
# OpenSSL 3 is, the controller's release key must have signed it as well. It is
# taken from the file $ARCHIVE when that is said.
take_archive() {
	if [ -n "$ARCHIVE" ]; then
		say "taking the agent $VERSION for linux/$ARCH from $ARCHIVE"
		cp "$ARCHIVE" "$WORK/agent.tar" || die "could not read $ARCHIVE"
		got=$(sha256_of "$WORK/agent.tar")
		[ "$got" = "$ARTIFACT_SHA256" ] ||
			die "the SHA-256 of $ARCHIVE is $got, not $ARTIFACT_SHA256: it is not the agent this script is for; nothing was run"
	else
		say "downloading the agent $VERSION for linux/$ARCH ($((ARTIFACT_SIZE / 1024)) KiB)"
		fetch "$CONTROLLER_URL$ARTIFACT_PATH" "$WORK/agent.tar" ||
			die "could not download $CONTROLLER_URL$ARTIFACT_PATH: $(fetch_error)"
		got=$(sha256_of "$WORK/agent.tar")
		[ "$got" = "$ARTIFACT_SHA256" ] ||
			die "the agent's SHA-256 is $got, not $ARTIFACT_SHA256: it was changed or cut short on its way; nothing was run"
	fi
	check_signature
}

# check_signature checks that the controller's release key signed the artifact.
# Where OpenSSL cannot (Ed25519 needs version 3), the digest has to do: the chain
# from the pasted command to it is complete.
check_signature() {
	if ! openssl pkeyutl -help 2>&1 | grep -q -e -rawin; then
		say "SHA-256 is right; signature not checked: OpenSSL 3 is not here (package openssl)"
		return 0
	fi
	if [ -n "$ARCHIVE" ]; then
		cp "$ARCHIVE.sig" "$WORK/agent.sig" 2>/dev/null || die "there is no signature beside the archive: $ARCHIVE.sig"
	else
		fetch "$CONTROLLER_URL$ARTIFACT_PATH.sig" "$WORK/agent.sig" ||
			die "could not download the agent's signature $CONTROLLER_URL$ARTIFACT_PATH.sig: $(fetch_error)"
	fi
	printf '%s' "$RELEASE_KEY" >"$WORK/release.pem"
	printf 'fairlead artifact v1\npath %s\nversion %s\nsha256 %s\nsize %s\n' \
		"$ARTIFACT_PATH" "$VERSION" "$ARTIFACT_SHA256" "$ARTIFACT_SIZE" >"$WORK/statement"
	# Written back it must be the same text: base64 has spare bits.
	if openssl base64 -d -A -in "$WORK/agent.sig" -out "$WORK/signature" 2>/dev/null &&
		[ "$(openssl base64 -A -in "$WORK/signature")" = "$(cat "$WORK/agent.sig")" ] &&
		openssl pkeyutl -verify -pubin -inkey "$WORK/release.pem" -rawin \
			-in "$WORK/statement" -sigfile "$WORK/signature" >/dev/null 2>&1; then
		say "SHA-256 and signature are right"
	else
		die "the agent's signature is not the controller's: nothing was run"
	fi
}

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

# --- the image, out of a registry ----------------------------------------------

# check_image leaves REPOSITORY without tag and digest: what is pulled has the
# digest that this script pins.
check_image() {
	[ "$MODE" = container ] ||
		problem "--image is for an agent in a container: a service takes its program out of the archive; leave --image out, or run the agent in a container (--container)"
	[ -n "${IMAGE_DIGEST:-}" ] || problem "this script pins no image to be pulled: leave --image out"
	case $REPOSITORY in
	-* | *[!A-Za-z0-9._/:@-]*)
		problem "--image: $REPOSITORY has characters that do not belong there"
		;;
	*@"${IMAGE_DIGEST:-}") ;;
	*@*) problem "--image: $REPOSITORY is not the agent that this script is for, which is ${REPOSITORY%%@*}@${IMAGE_DIGEST:-}" ;;
	esac
	REPOSITORY=${REPOSITORY%%@*}
	case ${REPOSITORY##*/} in *:*) REPOSITORY=${REPOSITORY%:*} ;; esac
}

# pull_image has the engine pull the agent from a registry, by the digest that is
# pinned in this script, whose own is pinned in the pasted command; and looks at
# what the engine has then. The image goes by the name that it has out of the
# archive, and by no other.
pull_image() {
	pulled=$REPOSITORY@$IMAGE_DIGEST
	say "pulling the agent $VERSION for linux/$ARCH: $pulled"
	docker pull --quiet "$pulled" >/dev/null 2>"$WORK/pull.err" || not_pulled "$(tail -n 1 "$WORK/pull.err" | plain)"
	got=$(docker image inspect --format '{{.Id}}' "$pulled" 2>/dev/null) || got=
	# An engine that keeps images as registries do has them by the digest.
	if [ "$got" != "$IMAGE_ID" ] && [ "$got" != "$IMAGE_DIGEST" ]; then
		docker image rm "$pulled" >/dev/null 2>&1 || :
		die "what the engine pulled is ${got:-nothing}, not $IMAGE_ID: it is not the agent this script is for; nothing was run"
	fi
	docker tag "$pulled" "$IMAGE"
	docker image rm "$pulled" >/dev/null 2>&1 || warn "the image's name $pulled stays: docker image rm it with the agent"
	say "the image is the one that this script pins"
}

# not_pulled WHY says what to do about it.
not_pulled() {
	case $1 in
	*unauthorized* | *denied* | *'no basic auth credentials'* | *'authentication required'*)
		die "the registry does not give $pulled to $(id -un): docker login first, as that user ($1)"
		;;
	*'manifest unknown'* | *'name unknown'* | *'not found'*)
		die "the registry has no $pulled: controller artifacts push dagent $REPOSITORY brings it there, from where the controller's archives of the version $VERSION are ($1)"
		;;
	esac
	die "could not pull $pulled; nothing was run: $1"
}

# --- as a service of the host ---------------------------------------------------

# find_manager sets MANAGER to what runs services here: systemd, openrc or nothing.
find_manager() {
	MANAGER=
	if [ -d "$SYSTEMD_RUNS" ] && have systemctl; then
		MANAGER=systemd
	elif have rc-service && have rc-update && have supervise-daemon; then
		MANAGER=openrc
	fi
}

# service_file prints where the service manager looks for the service.
service_file() {
	case $MANAGER in
	systemd) printf '%s/%s.service' "$SYSTEMD_UNITS" "$CONTAINER" ;;
	openrc) printf '%s/%s' "$OPENRC_SERVICES" "$CONTAINER" ;;
	esac
}

# choose_mode decides between container and service: what was asked for, or what is
# installed.
choose_mode() {
	find_manager
	if [ -z "$MODE" ]; then
		MODE=container
		if [ -e "$ROOT_PATH/bin/dagent" ]; then MODE=service; fi
	fi
}

check_service() {
	[ "$MODE" = service ] || return 0
	if [ -z "$MANAGER" ]; then
		problem "neither systemd nor OpenRC runs this machine: install the agent as a container, without --service"
	elif [ "$(id -u)" != 0 ]; then
		problem "a service is installed by root: run this as root (sudo sh …)"
	fi
	for tool in tar gunzip sed readlink; do
		have $tool || problem "the command $tool is missing: --service needs it"
	done
	# What files of both service managers take as it is.
	case $ROOT_PATH in *[!A-Za-z0-9._/+-]*) problem "--service needs a state folder of plain letters, digits and ._+-, not $ROOT_PATH" ;; esac
	case $SOCKET in *[!A-Za-z0-9._/+-]*) problem "--service needs a socket of plain letters, digits and ._+-, not $SOCKET" ;; esac
	other=$(service_file)
	if [ -n "$other" ] && [ -e "$other" ] && ! grep -q "^# Fairlead agent of node $NODE_ID\$" "$other"; then
		problem "$other is there already and is not this node's: uninstall that first"
	fi
}

# check_service_values refuses what cannot stand in the service's file of variables.
check_service_values() {
	[ "$MODE" = service ] || return 0
	for name in $POLICY HTTPS_PROXY HTTP_PROXY NO_PROXY https_proxy http_proxy no_proxy; do
		eval "value=\${$name:-}"
		case $value in *[!A-Za-z0-9\ ._/:,@=+%*-]*) problem "$name has characters that the file of a service cannot hold" ;; esac
	done
}

# build_name is what this script's program is called beside others.
build_name() { printf 'dagent.%s' "$(printf '%s' "$ARTIFACT_SHA256" | cut -c 1-16)"; }

# installed_build is the name of the program that the service manager starts.
installed_build() { readlink "$ROOT_PATH/bin/dagent" 2>/dev/null || :; }

service_active() {
	case $MANAGER in
	systemd) systemctl is-active --quiet "$CONTAINER.service" ;;
	openrc) rc-service "$CONTAINER" status >/dev/null 2>&1 ;;
	*) return 1 ;;
	esac
}

stop_service() {
	[ -e "$(service_file)" ] || return 0
	case $MANAGER in
	systemd) systemctl stop "$CONTAINER.service" ;;
	openrc) rc-service --ifstarted "$CONTAINER" stop >/dev/null ;;
	esac
}

start_service() {
	case $MANAGER in
	systemd)
		systemctl daemon-reload &&
			systemctl enable --quiet "$CONTAINER.service" &&
			systemctl start "$CONTAINER.service"
		;;
	openrc)
		rc-update add "$CONTAINER" default >/dev/null &&
			rc-service "$CONTAINER" start >/dev/null
		;;
	esac
}

# print_variables prints what the agent is told; both service managers read it.
print_variables() {
	printf 'FAIRLEAD_STATE_DIR="%s"\nDAGENT_SECRETS_DIR="/run/%s/secrets"\nDOCKER_HOST="unix://%s"\n' "$ROOT_PATH" "$CONTAINER" "$SOCKET"
	for name in $POLICY HTTPS_PROXY HTTP_PROXY NO_PROXY https_proxy http_proxy no_proxy; do
		eval "value=\${$name:-}"
		if [ -n "$value" ]; then printf '%s="%s"\n' "$name" "$value"; fi
	done
}

# print_unit prints the service for systemd. The agent steers the engine, which can
# do anything; what is taken away here is what a fault of its own could do. Exit code
# 3 says that there is nothing to serve; 2 must not end the service, since Go's
# runtime ends with it after a panic and after the watchdog's SIGABRT.
print_unit() {
	cat <<UNIT
# Fairlead agent of node $NODE_ID
[Unit]
Description=Fairlead agent
After=network-online.target docker.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=$ROOT_PATH/bin/dagent run
EnvironmentFile=$ROOT_PATH/service.env
Restart=always
RestartSec=2
RestartPreventExitStatus=3
WatchdogSec=90
TimeoutStartSec=90
TimeoutStopSec=60
RuntimeDirectory=$CONTAINER
RuntimeDirectoryMode=0711
RuntimeDirectoryPreserve=yes
UMask=0077
ReadWritePaths=$ROOT_PATH
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
UNIT
}

# print_init prints the service for OpenRC.
print_init() {
	cat <<INIT
#!/sbin/openrc-run
# Fairlead agent of node $NODE_ID
description="Fairlead agent"
supervisor=supervise-daemon
command="$ROOT_PATH/bin/dagent"
command_args="run"
respawn_delay=2
respawn_max=0
output_log="/var/log/$CONTAINER.log"
error_log="/var/log/$CONTAINER.log"
umask=0077

depend() {
	need net
	after docker
}

start_pre() {
	checkpath --directory --mode 0711 "/run/$CONTAINER"
	set -a
	. "$ROOT_PATH/service.env"
	set +a
}

# A build that was to take over when the service was stopped ends with it.
stop_post() {
	for exe in /proc/[0-9]*/exe; do
		case \$(readlink "\$exe") in
		"$ROOT_PATH"/bin/dagent.*)
			exe=\${exe%/exe}
			kill "\${exe#/proc/}" 2>/dev/null || :
			;;
		esac
	done
}
INIT
}

# take_program puts the agent's program, out of the checked archive, beside the one
# that is there.
take_program() {
	mkdir -p "$ROOT_PATH/bin"
	BUILD=$(build_name)
	layer=$(tar -xOf "$WORK/agent.tar" manifest.json | sed -n 's/.*"Layers":\["\([^"]*\)"\].*/\1/p') || layer=
	[ -n "$layer" ] || die "the archive does not hold the agent's program"
	tar -xOf "$WORK/agent.tar" "$layer" | gunzip -c | tar -xOf - dagent >"$ROOT_PATH/bin/$BUILD.part" ||
		die "the archive does not hold the agent's program"
	[ -s "$ROOT_PATH/bin/$BUILD.part" ] || die "the archive does not hold the agent's program"
	chmod 0700 "$ROOT_PATH/bin/$BUILD.part"
	mv "$ROOT_PATH/bin/$BUILD.part" "$ROOT_PATH/bin/$BUILD"
}

# lead_to BUILD: has the service manager start it.
lead_to() {
	rm -f "$ROOT_PATH/bin/dagent.new"
	ln -s "$1" "$ROOT_PATH/bin/dagent.new"
	mv -f "$ROOT_PATH/bin/dagent.new" "$ROOT_PATH/bin/dagent"
}

start_as_service() {
	take_program
	lead_to "$BUILD"
	file=$(service_file)
	for kept in "$file" "$ROOT_PATH/service.env"; do
		if [ -e "$kept" ]; then cp -p "$kept" "$WORK/before-${kept##*/}"; fi
	done
	print_variables >"$ROOT_PATH/service.env.new"
	mv "$ROOT_PATH/service.env.new" "$ROOT_PATH/service.env"
	case $MANAGER in
	systemd)
		print_unit >"$file.new"
		chmod 0644 "$file.new"
		;;
	openrc)
		print_init >"$file.new"
		chmod 0755 "$file.new"
		;;
	esac
	mv "$file.new" "$file"
	say "starting the agent as the service $CONTAINER ($MANAGER)"
	start_service >"$WORK/start.log" 2>&1 || {
		service_words
		die "the service $CONTAINER does not start: $(tail -n 1 "$WORK/start.log")"
	}
}

service_words() {
	warn "its last log lines:"
	case $MANAGER in
	systemd) journalctl --unit "$CONTAINER.service" --lines 20 --no-pager --output cat 2>&1 | plain >&2 || : ;;
	openrc) tail -n 20 "/var/log/$CONTAINER.log" 2>&1 | plain >&2 || : ;;
	esac
}

# service_state prints of the service what is asked of a container: whether it runs,
# its restarts and its exit code.
service_state() {
	restarts=0 code=unknown seen=ended
	if [ "$MANAGER" = systemd ]; then
		restarts=$(systemctl show --property NRestarts --value "$CONTAINER.service") || restarts=0
		code=$(systemctl show --property ExecMainStatus --value "$CONTAINER.service") || code=unknown
		# Between an end and the next start.
		case $(systemctl is-active "$CONTAINER.service") in activating) seen=running ;; esac
	fi
	if service_active; then seen=running; fi
	printf '%s %s %s' $seen "${restarts:-0}" "${code:-unknown}"
}

# put_service_back has the service as it was before this run; none if there was none.
put_service_back() {
	stop_service 2>/dev/null || :
	if [ -z "$OLD_BUILD" ]; then
		remove_service
		return 0
	fi
	lead_to "$OLD_BUILD"
	file=$(service_file)
	for kept in "$file" "$ROOT_PATH/service.env"; do
		if [ -e "$WORK/before-${kept##*/}" ]; then cp -p "$WORK/before-${kept##*/}" "$kept"; fi
	done
	if [ -n "$BUILD" ] && [ "$BUILD" != "$OLD_BUILD" ]; then rm -f "$ROOT_PATH/bin/$BUILD" "$ROOT_PATH/bin/$BUILD.part"; fi
	if [ -n "$OLD_SERVICE" ] && start_service >/dev/null 2>&1; then warn "the previous agent is back"; fi
}

remove_service() {
	file=$(service_file)
	if [ -n "$file" ] && [ -e "$file" ]; then
		stop_service || :
		case $MANAGER in
		systemd) systemctl disable --quiet "$CONTAINER.service" || : ;;
		openrc) rc-update del "$CONTAINER" >/dev/null || : ;;
		esac
		rm -f "$file"
		if [ "$MANAGER" = systemd ]; then systemctl daemon-reload; fi
	fi
	rm -rf "${ROOT_PATH:?}/bin" "$ROOT_PATH/service.env" "$ROOT_PATH/service.env.new"
}

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

# --- the three things this script does ------------------------------------------

check_all() {
	check_tools
	check_docker
	choose_mode
	check_controller
	check_artifact
	check_root_path
	check_service
	check_record
	check_identity
	check_names
	check_version
	check_room
	check_policy
	check_service_values
	stop_if_problems
}

install_agent() {
	check_all
	if up_to_date; then
		say "the agent $VERSION is installed, enrolled and running: nothing to do"
		return 0
	fi
	if [ -n "$DRY" ]; then
		if [ -n "$REPOSITORY" ]; then
			say "would have the engine pull $REPOSITORY@$IMAGE_DIGEST"
		elif [ -n "$ARCHIVE" ]; then
			say "would take the agent from $ARCHIVE and check its SHA-256 and signature"
		else
			say "would download $CONTROLLER_URL$ARTIFACT_PATH and check its SHA-256 and signature"
		fi
		if [ -n "$(container "$CONTAINER" '{{.Id}}')" ]; then say "would replace the container $CONTAINER"; fi
		if [ -n "$KEEP" ]; then
			say "would keep this node's key in $ROOT_PATH"
		else
			say "would enrol this machine at $AGENT_ADDR as node $NODE_NAME, with state in $ROOT_PATH"
		fi
		if [ "$MODE" = service ]; then
			say "would run the agent as the service $CONTAINER ($MANAGER) for Docker Engine $ENGINE; nothing was changed"
		else
			say "would run $IMAGE as the container $CONTAINER on Docker Engine $ENGINE; nothing was changed"
		fi
		return 0
	fi
	if [ -n "$REPOSITORY" ]; then pull_image; else take_archive; fi
	CHANGING=yes
	recover
	set_aside
	prepare_state
	start_agent
	wait_for_agent
	commit
	say "done: this machine is node $NODE_NAME of $CONTROLLER_URL (agent $VERSION)"
	say "to remove the agent later: sh $(quoted "$ROOT_PATH/install.sh") --uninstall"
}

uninstall_agent() {
	check_docker
	choose_mode
	check_names
	check_root_path
	check_service
	check_record
	stop_if_problems
	say "removing the agent and its proxy; the containers it started keep running, and the controller keeps the node until it is deleted there"
	for name in "$CONTAINER-next" "$CONTAINER" "$CONTAINER-previous"; do
		id=$(container "$name" '{{.Id}}')
		[ -n "$id" ] || continue
		image=$(container "$id" '{{.Image}}')
		tag=$(container "$id" '{{.Config.Image}}')
		if [ -n "$DRY" ]; then
			say "would remove the container $name and its image"
			continue
		fi
		filler=$(filler_of "$id")
		docker stop --time 30 "$id" >/dev/null
		docker rm --force "$id" >/dev/null
		remove_image "$image" "$tag" || warn "the image $tag stays: something else uses it"
		if [ -n "$filler" ] && docker image inspect "$filler" >/dev/null 2>&1; then
			docker image rm "$filler" >/dev/null 2>&1 || warn "the image $filler stays: something else uses it"
		fi
		say "removed the container $name"
	done
	# The agent of a node that was deleted took its container away, and could not
	# take the image that it ran from: this script's, or one that it updated itself to.
	if [ -e "$ROOT_PATH/deleted" ]; then
		for version in "${IMAGE##*:}" $(updated_versions); do
			image=${IMAGE%:*}:$version
			docker image inspect "$image" >/dev/null 2>&1 || continue
			if [ -n "$DRY" ]; then
				say "would remove the image $image"
			else
				docker image rm "$image" >/dev/null 2>&1 || warn "the image $image stays: something else uses it"
			fi
		done
	fi
	if [ "$MODE" = service ]; then
		if [ -n "$DRY" ]; then
			say "would remove the service $CONTAINER"
		else
			remove_service
			rm -f "/var/log/$CONTAINER.log"
			say "removed the service $CONTAINER"
		fi
	fi
	remove_edge
	# Only what is the agent's: volumes of deployed containers may live here too.
	for name in identity identity.new identity.previous revoked revoked.previous deleted deleted.previous install.previous assignments.pb assignments.broken results.json \
		begun.json images.json adopted.json restarts.json runs.json commands spool logs seen.json trouble secrets release-keys release-keys.new update.json update.proof update.tar update.tar.part \
		session lock state enrol.json enrol.json.new enrolled enrol-error install install.new install.sh install.sh.new \
		edge edge-image.json edge-image.json.new edge.tar edge.tar.part; do
		[ -e "$ROOT_PATH/$name" ] || continue
		if [ -n "$DRY" ]; then
			say "would remove $ROOT_PATH/$name"
		else
			rm -rf "${ROOT_PATH:?}/$name"
		fi
	done
	if [ -n "$DRY" ]; then
		say "nothing was changed"
		return 0
	fi
	# What was being written when the agent was killed.
	rm -rf "$ROOT_PATH"/.new-* "$ROOT_PATH"/.images-* "$ROOT_PATH"/.adopted-* "$ROOT_PATH"/.restarts-*
	# Containers that keep running may have files in here: those stay until the
	# machine starts anew, and are in memory alone.
	rmdir "/run/$CONTAINER/secrets" "/run/$CONTAINER" 2>/dev/null || :
	rmdir "$ROOT_PATH" 2>/dev/null || [ ! -d "$ROOT_PATH" ] ||
		say "$ROOT_PATH stays: it holds more than the agent's own files"
	say "the agent is removed"
}

main() {
	DRY=
	AGAIN=
	DOWN=
	ARCHIVE=
	REPOSITORY=
	MODE=
	BUNDLE=
	BUNDLE_ARCH=
	ACT=install_agent
	while [ $# -gt 0 ]; do
		option=$1
		shift
		case $option in
		--archive | --image | --bundle | --arch)
			if [ -z "${1:-}" ]; then
				case $option in
				--arch) warn "--arch needs amd64 or arm64" ;;
				--image) warn "--image needs an image of a registry, like registry.example.org/fairlead/dagent" ;;
				*) warn "$option needs a file" ;;
				esac
				return 2
			fi
			case $option in
			--archive) ARCHIVE=$1 ;;
			--image) REPOSITORY=$1 ;;
			--bundle) BUNDLE=$1 ACT=write_bundle ;;
			--arch) BUNDLE_ARCH=$1 ;;
			esac
			shift
			;;
		--dry-run) DRY=yes ;;
		--enrol-again) AGAIN=yes ;;
		--downgrade) DOWN=yes ;;
		--service) MODE=service ;;
		--container) MODE=container ;;
		--uninstall) ACT=uninstall_agent ;;
		--show) ACT=show ;;
		--version)
			printf '%s\n' "$VERSION"
			return 0
			;;
		--help | -h)
			usage
			return 0
			;;
		*)
			warn "unknown option $option"
			usage >&2
			return 2
			;;
		esac
	done
	if [ -n "$REPOSITORY" ] && [ -n "$ARCHIVE$BUNDLE" ]; then
		warn "--image takes the agent from a registry, --archive and --bundle are about its archive: say one"
		return 2
	fi
	if [ $ACT = show ]; then
		show
		return 0
	fi
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	WORK=$(mktemp -d) || die "could not make a temporary folder: is there room in ${TMPDIR:-/tmp}?"
	if [ "$ACT" = install_agent ] && [ -n "${BUNDLED:-}" ] && [ -z "$ARCHIVE$REPOSITORY" ]; then unpack_bundle; fi
	$ACT
}

{ main "$@"; }
