# --- looking -------------------------------------------------------------------

check_tools() {
	have kubectl || problem "kubectl is not here: install it, and give it access to the cluster"
	[ -n "$ARCHIVE" ] || have curl || have wget || problem "neither curl nor wget is here: install the package curl"
	for tool in sha256sum mktemp tr cut tail grep; do
		have $tool || problem "the command $tool is missing: install the package coreutils (grep for grep)"
	done
}

check_cluster() {
	have kubectl || return 0
	if ! kubectl version --output json >"$WORK/version" 2>"$WORK/version.err"; then
		problem "the cluster does not answer: $(tail -n 1 "$WORK/version.err")"
		return 0
	fi
	minor=$(tr -d ' \n' <"$WORK/version")
	minor=${minor#*'"serverVersion"'}
	minor=${minor#*'"minor":"'}
	minor=${minor%%[!0-9]*}
	case $minor in '') minor=0 ;; esac
	for act in 'create namespaces' 'create clusterroles' 'create clusterrolebindings'; do
		# shellcheck disable=SC2086 # two words
		kubectl auth can-i $act --quiet >/dev/null 2>&1 || problem "this user may not $act in the cluster: use a user who may"
	done
}

check_controller() {
	[ "$ACT" = install_agent ] || return 0
	if [ -n "$ARCHIVE" ]; then
		[ -f "$ARCHIVE" ] || problem "there is no file $ARCHIVE"
		return 0
	fi
	fetch "$CONTROLLER_URL/livez" "$WORK/livez" || problem "the controller does not answer at $CONTROLLER_URL: $(fetch_error)"
}

# there KIND NAME [JSONPATH]: a field of something in the agent's namespace;
# nothing when it is not there.
there() {
	field='{.metadata.name}'
	kubectl get "$1" "$2" --namespace "$NAME" --ignore-not-found --output "jsonpath=${3:-$field}" 2>/dev/null || :
}

# stopped prints why the agent stopped itself: its identity was taken from it.
stopped() { there deployment crane '{.metadata.annotations.fairlead\.dev/stopped}' | plain; }

# check_owner makes sure that the namespace, when there, is this node's.
check_owner() {
	[ "$PROBLEMS" -eq 0 ] || return 0
	[ -n "$(there namespace "$NAME")" ] || return 0
	[ "$(there namespace "$NAME" '{.metadata.labels.fairlead\.dev/node}')" = "$NODE_ID" ] ||
		problem "namespace $NAME is there already and is not of this node's agent: rename or remove it"
}

# check_installed takes what was not said from the agent that is installed.
check_installed() {
	BEFORE=$(there deployment crane)
	ENROLMENT_ID=
	[ -n "$BEFORE" ] || return 0
	STOPPED=$(stopped)
	pod='{.spec.template.spec'
	if [ "$(there deployment crane '{.spec.strategy.type}')" = RollingUpdate ]; then
		UPDATING=yes
		[ -n "$IMAGE$LOAD" ] ||
			problem "the agent is being replaced by another build just now: wait for the end of that, or say --image or --load, which ends it"
	else
		UPDATE_ID=$(there deployment crane "$pod.containers[0].env[?(@.name=='FAIRLEAD_UPDATE_ID')].value}")
	fi
	if [ -z "$IMAGE$LOAD" ]; then
		IMAGE=$(there deployment crane "$pod.containers[0].image}")
	fi
	if [ -z "$PULL_SECRET" ]; then PULL_SECRET=$(there deployment crane "$pod.imagePullSecrets[0].name}"); fi
	if [ -z "$SAID_NAMESPACES" ]; then
		NAMESPACES=$(there deployment crane "$pod.containers[0].env[?(@.name=='CRANE_NAMESPACES')].value}" | tr ',' ' ')
	fi
	for name in HTTPS_PROXY NO_PROXY; do
		eval "said=\${$name+yes}"
		if [ -z "$said" ]; then
			value=$(there deployment crane "$pod.containers[0].env[?(@.name=='$name')].value}")
			eval "$name=\$value"
		fi
	done
	ENROLMENT_ID=$(there deployment crane '{.spec.template.metadata.annotations.fairlead\.dev/enrolment}')
}

check_image() {
	PULL_POLICY=IfNotPresent
	if [ -n "$LOAD" ]; then
		PULL_POLICY=Never
		IMAGE=$ARCHIVE_IMAGE
		ARCH=$(machine_arch)
		artifact_for "$ARCH" || problem "the controller has no agent for the architecture $ARCH"
		have ctr || have k3s || problem "--load needs containerd's program ctr on this machine, which is the cluster's only node"
		return 0
	fi
	case $IMAGE in
	'') problem "say where the cluster's nodes get the agent's image: --image REFERENCE, or --load on the only machine of a cluster; --save FILE fetches it for a registry" ;;
	"$ARCHIVE_IMAGE") PULL_POLICY=Never ;; # loaded before
	*@sha256:*) ;;
	*) warn "the image $IMAGE is not named by its digest: whoever may write to that registry decides what runs" ;;
	esac
}

# fits WHAT VALUE CHARACTERS: VALUE holds nothing but these.
fits() {
	rest=$(
		printf '%s' "$2" | tr -d "$3"
		echo .
	)
	[ "$rest" = . ] || problem "$1: $2 has characters that do not belong there"
}

check_values() {
	fits --image "$IMAGE" 'A-Za-z0-9._/:@-'
	fits --pull-secret "$PULL_SECRET" 'a-z0-9.-'
	fits --namespaces "$NAMESPACES" 'a-z0-9 -'
	for name in HTTPS_PROXY NO_PROXY; do
		eval "value=\${$name:-}"
		case $value in
		*@*)
			warn "$name holds a password and is not given to the agent: it would be readable in its Deployment"
			eval "$name="
			;;
		*) fits $name "$value" 'A-Za-z0-9._/:,*%+-' ;;
		esac
	done
	[ "$PROBLEMS" -eq 0 ] || return 0
	for namespace in $NAMESPACES; do
		[ -n "$(there namespace "$namespace")" ] || problem "--namespaces: there is no namespace $namespace"
	done
	if [ -z "$NAMESPACES" ] && [ "$minor" -lt $OLDEST_MINOR_WITH_POLICIES ]; then
		problem "the cluster is Kubernetes 1.$minor, which cannot keep the agent to its own namespaces: use --namespaces, or 1.$OLDEST_MINOR_WITH_POLICIES or newer"
	fi
}

# check_identity decides between keeping the key that the agent has and enrolling. A
# key that an agent stopped itself for is good for nothing.
check_identity() {
	KEEP=
	[ "$PROBLEMS" -eq 0 ] || return 0
	if [ -z "$AGAIN$STOPPED" ] && [ -n "$(there secret crane-state '{.data}')" ] && [ -n "$ENROLMENT_ID" ]; then
		KEEP=yes
		return 0
	fi
	if [ "$(date +%s)" -ge "$EXPIRES_EPOCH" ]; then
		problem "the token in this script expired at $EXPIRES: make a new script for node $NODE_NAME"
	fi
	if [ -n "$STOPPED" ]; then say "the agent that is installed stopped itself: $STOPPED; this script enrols it again"; fi
	ENROLMENT_ID=$(printf '%s' "$ENROLMENT" | sha256sum | cut -c 1-16)
}

print_only() {
	PULL_POLICY=IfNotPresent
	ENROLMENT_ID=none
	IMAGE=${IMAGE:-$ARCHIVE_IMAGE}
	fits --image "$IMAGE" 'A-Za-z0-9._/:@-'
	fits --pull-secret "$PULL_SECRET" 'a-z0-9.-'
	fits --namespaces "$NAMESPACES" 'a-z0-9 -'
	[ "$PROBLEMS" -eq 0 ] || exit 1
	print_manifest
}

# --- doing ---------------------------------------------------------------------

apply() { kubectl apply --server-side --force-conflicts --field-manager fairlead-install --filename "$1" >>"$WORK/applied"; }

apply_agent() {
	[ -n "$(there namespace "$NAME")" ] || FRESH=yes
	print_namespace >"$WORK/namespace.yaml"
	apply "$WORK/namespace.yaml" || die "could not make namespace $NAME"
	print_access >"$WORK/access.yaml"
	apply "$WORK/access.yaml" || die "could not give the agent its rights"
	# Only where there is none: it holds the agent's key.
	[ -n "$(there secret crane-state)" ] ||
		kubectl create secret generic crane-state --namespace "$NAME" >>"$WORK/applied" || die "could not make the secret for the agent's state"
	if [ -z "$KEEP" ]; then
		mkdir "$WORK/enrolment"
		printf '%s\n' "$ENROLMENT" >"$WORK/enrolment/enrol.json"
		kubectl delete secret crane-enrolment --namespace "$NAME" --ignore-not-found >/dev/null
		kubectl create secret generic crane-enrolment --namespace "$NAME" --from-file "$WORK/enrolment/enrol.json" >>"$WORK/applied" ||
			die "could not hand the token over"
	fi
	if [ -n "$UPDATING" ]; then
		kubectl patch deployment crane --namespace "$NAME" --type merge \
			--patch '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}' >>"$WORK/applied" || die "could not end the update that is under way"
	fi
	# Before the agent comes up, which may stop itself again.
	if [ -n "$STOPPED" ]; then
		kubectl annotate deployment crane --namespace "$NAME" fairlead.dev/stopped- >>"$WORK/applied" || die "could not take back that the agent stopped itself"
	fi
	print_deployment >"$WORK/deployment.yaml"
	apply "$WORK/deployment.yaml" || die "could not apply the agent's Deployment"
}

# plain drops control characters, so that foreign text cannot play with the terminal.
plain() { tr -d '\000-\010\013-\037\177'; }

last_words() {
	warn "the agent's last log lines:"
	kubectl logs deployment/crane --namespace "$NAME" --tail 20 2>&1 | plain >&2 || :
}

# of_pods FIELD: that of the agent's pods.
of_pods() {
	kubectl get pods --namespace "$NAME" --selector app.kubernetes.io/name=crane --output "jsonpath={range .items[*]}$1{' '}{end}" 2>/dev/null || :
}

wait_for_agent() {
	waited=0
	say "waiting for the agent to be connected"
	until kubectl rollout status deployment/crane --namespace "$NAME" --timeout 1s >/dev/null 2>&1; do
		case "$(of_pods '{.status.containerStatuses[*].state.waiting.reason}')" in
		*ImagePullBackOff* | *InvalidImageName* | *ErrImageNeverPull*)
			warn "$(of_pods '{.status.containerStatuses[*].state.waiting.message}' | plain)"
			die "the cluster's nodes cannot get the image $IMAGE"
			;;
		esac
		ended="$(of_pods '{.status.containerStatuses[*].state.terminated.exitCode} {.status.containerStatuses[*].lastState.terminated.exitCode}')"
		case " $ended " in
		*' 3 '*)
			last_words
			die "the agent could not enrol"
			;;
		esac
		if [ $waited -ge "$WAIT_SECONDS" ]; then
			last_words
			die "the agent was not connected within $WAIT_SECONDS seconds; it must reach $AGENT_ADDR from a pod"
		fi
		sleep 1
		waited=$((waited + 2))
	done
	# Without pods there is nothing left to wait for either.
	why=$(stopped)
	[ -z "$why" ] || die "the agent stopped itself: $why"
}

# remove_agent removes what an installation made, and nothing that was deployed.
remove_agent() {
	kinds=clusterrolebinding,clusterrole,validatingadmissionpolicybinding,validatingadmissionpolicy
	[ "$minor" -ge $OLDEST_MINOR_WITH_POLICIES ] || kinds=clusterrolebinding,clusterrole
	if [ -n "$DRY" ]; then
		say "would remove namespace $NAME with the agent, and its rights; nothing was changed"
		return 0
	fi
	# The agent first, while it still may say goodbye.
	kubectl delete deployment crane --namespace "$NAME" --ignore-not-found --cascade foreground --timeout 90s >/dev/null || :
	kubectl delete rolebinding,role --all-namespaces --selector "fairlead.dev/node=$NODE_ID" >/dev/null
	kubectl delete "$kinds" --selector "fairlead.dev/node=$NODE_ID" >/dev/null
	kubectl delete namespace "$NAME" --ignore-not-found --wait=false >/dev/null
	say "the agent is removed"
}

# put_back undoes a run that did not get to its end.
put_back() {
	kubectl delete secret crane-enrolment --namespace "$NAME" --ignore-not-found >/dev/null 2>&1 || :
	if [ -n "$BEFORE" ]; then
		kubectl rollout undo deployment/crane --namespace "$NAME" >/dev/null 2>&1 && warn "the previous agent is back"
	elif [ -n "$FRESH" ]; then
		# An agent that enrolled after all has spent the token: its key stays.
		if [ -z "$(there secret crane-state '{.data}')" ]; then remove_agent >/dev/null 2>&1 || :; fi
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
