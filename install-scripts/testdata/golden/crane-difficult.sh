#!/bin/sh
# Installs the Fairlead agent for Kubernetes into the cluster that kubectl reaches.
# Made by the controller for one node; try --help. POSIX sh: runs in dash, bash and
# busybox.
#
# Nothing runs before the last line has been read: a script cut short on its
# way is a syntax error and does nothing.
set -eu
umask 077

NODE_ID='2f1c9d6e-0000-4000-8000-000000000001'
NODE_NAME='Büro'\''s "node" $(reboot) `reboot` \n %s <% .Token %>'
CONTROLLER_URL='http://[2001:db8::1]:8080/fairlead'
AGENT_ADDR='[2001:db8::1]:8443'
ROOT_SHA256='0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'
ENROLMENT='{"controller":"[2001:db8::1]:8443","rootSha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","token":"example-token-0123456789","nodeName":"Büro'\''s \"node\" $(reboot) `reboot` \\n %s \u003c% .Token %\u003e"}'
EXPIRES='2026-01-02T03:04:05Z'
EXPIRES_EPOCH='1767323045'
NAME='fairlead-2f1c9d6e'
ARCHIVE_IMAGE='fairlead/crane:1.2.3'
VERSION='1.2.3'
RELEASE_KEY='-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=
-----END PUBLIC KEY-----
'
RELEASE_KEY_RAW='O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik='

# How long the agent may take to be connected.
WAIT_SECONDS='180'
# The oldest Kubernetes with the policies that keep the agent to its namespaces.
OLDEST_MINOR_WITH_POLICIES=30

# What EXIT has to put in order.
WORK=
CHANGING=
FRESH=
BEFORE=
STOPPED=
UPDATING=
UPDATE_ID=
PROBLEMS=0

artifact_for() {
	case $1 in
	arm64)
		ARTIFACT_PATH='/artifacts/crane/1.2.3/linux-arm64.tar'
		ARTIFACT_SHA256='b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2'
		ARTIFACT_SIZE='11345678'
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

usage() {
	cat <<'USAGE'
usage: sh install.sh [option]...

Installs the agent into the cluster of kubectl's current context, or brings the
installed one in order. Run again it changes nothing when there is nothing to
change.

where the cluster's nodes get the agent's image, one of:
  --image REFERENCE     from a registry that has it; best by digest (name@sha256:…)
  --pull-secret NAME    … with this secret of the agent's namespace
  --load                from this machine, which is the cluster's only node: the
                        archive is fetched, checked and given to its containerd
  --save FILE           fetch and check the archive, write it to FILE, and do
                        nothing else: to be pushed to a registry
  --archive FILE        … with --load and --save: take the archive from a file, its
                        signature from FILE.sig; both are checked as ever

  --namespaces A,B      let the agent deploy to these namespaces only, which have
                        to be there
  --dry-run             check everything and say what would be done; change nothing
  --manifest            print what would be applied, and nothing else
  --enrol-again         enrol with the token in this script though the agent has a
                        key already
  --uninstall           remove the agent; the workloads it deployed keep running
  --show                print what this script carries, except the token
  --version             print the version of the agent this script installs
  --help                print this

Cluster and user are kubectl's: KUBECONFIG, and its current context. The agent's
proxy is taken from HTTPS_PROXY and NO_PROXY. What is not said is as it was
installed before.

Exit code: 0 done, 1 failed, 2 wrong option.
USAGE
}

show() {
	printf 'node=%s\nname=%s\ncontroller=%s\nagent=%s\nroot=%s\n' \
		"$NODE_ID" "$NODE_NAME" "$CONTROLLER_URL" "$AGENT_ADDR" "$ROOT_SHA256"
	printf 'namespace=%s\nimage=%s\nversion=%s\nexpires=%s\n' "$NAME" "$ARCHIVE_IMAGE" "$VERSION" "$EXPIRES"
}

# --- what the agent may do -------------------------------------------------------

# rules is what the agent may do in a namespace that deployments go to. Secrets it
# writes and deletes, and reads none but its own record of a release.
rules() {
	cat <<'RULES'
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [fairlead-release]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
RULES
}

# meta NAME [NAMESPACE]: its labels find everything again that an installation made.
meta() {
	printf 'metadata:\n  name: %s\n' "$1"
	if [ -n "${2:-}" ]; then printf '  namespace: %s\n' "$2"; fi
	printf '  labels: {app.kubernetes.io/name: crane, fairlead.dev/node: "%s"}\n' "$NODE_ID"
}

# grant KIND NAME [NAMESPACE]: binds a role of that name to the agent.
grant() {
	printf -- '---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %sBinding\n' "$1"
	meta "$2" "${3:-}"
	printf 'roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %s, name: %s}\n' "$1" "$2"
	printf 'subjects: [{kind: ServiceAccount, name: crane, namespace: %s}]\n' "$NAME"
}

role() {
	printf -- '---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %s\n' "$1"
	meta "$2" "${3:-}"
	printf 'rules:\n'
}

# print_access prints the account and its rights.
print_access() {
	printf 'apiVersion: v1\nkind: ServiceAccount\n'
	meta crane "$NAME"
	printf 'automountServiceAccountToken: false\n'
	# Its own state, the key of the node among it, is in this one secret.
	role Role crane-state "$NAME"
	cat <<'RULES'
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [crane-state]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [crane]
  verbs: [get, update]
RULES
	# To replace itself by another build it rolls its own Deployment, and looks at
	# its pods.
	cat <<'RULES'
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: [crane]
  verbs: [get, patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
RULES
	grant Role crane-state "$NAME"
	# Under this lease one pod of the agent acts, should there ever be two.
	printf -- '---\napiVersion: coordination.k8s.io/v1\nkind: Lease\n'
	meta crane "$NAME"
	if [ -n "$NAMESPACES" ]; then
		print_limited_access
	else
		print_cluster_access
	fi
}

# print_limited_access: rights in the named namespaces, and nothing beyond them but
# who the cluster is.
print_limited_access() {
	role ClusterRole "$NAME"
	cat <<'RULES'
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
RULES
	grant ClusterRole "$NAME"
	for namespace in $NAMESPACES; do
		role Role "$NAME" "$namespace"
		rules
		printf -- '- apiGroups: [""]\n  resources: [namespaces]\n  verbs: [get]\n'
		grant Role "$NAME" "$namespace"
	done
}

# print_cluster_access: rights in every namespace, of which a policy leaves those
# that the agent made, or that somebody labelled fairlead.dev/deploy=allowed: in
# others it changes nothing, starts no pod and enters none.
print_cluster_access() {
	role ClusterRole "$NAME"
	rules
	cat <<'RULES'
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, create, delete]
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [get, create, delete]
RULES
	grant ClusterRole "$NAME"
	printf -- '---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n'
	meta "$NAME"
	cat <<POLICY
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: ["*"]}
  matchConditions:
  - name: the-agent
    expression: request.userInfo.username == 'system:serviceaccount:$NAME:crane'
  variables:
  - name: labels
    expression: >-
      request.resource.resource == 'namespaces'
      ? (request.operation == 'DELETE' ? oldObject.metadata.?labels.orValue({}) : object.metadata.?labels.orValue({}))
      : (has(namespaceObject.metadata.labels) ? namespaceObject.metadata.labels : {})
  validations:
  - expression: >-
      (request.resource.resource == 'secrets' && request.namespace == '$NAME' && request.name == 'crane-state')
      || (request.resource.resource == 'leases' && request.namespace == '$NAME' && request.name == 'crane')
      || (request.resource.resource == 'deployments' && request.namespace == '$NAME' && request.name == 'crane' && request.operation == 'UPDATE')
      || ('app.kubernetes.io/managed-by' in variables.labels && variables.labels['app.kubernetes.io/managed-by'] == 'fairlead')
      || (request.resource.resource != 'namespaces' && 'fairlead.dev/deploy' in variables.labels && variables.labels['fairlead.dev/deploy'] == 'allowed')
    reason: Forbidden
    message: >-
      Fairlead's agent may change only namespaces that it made; to let it deploy to another, label that:
      kubectl label namespace NAME fairlead.dev/deploy=allowed
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
POLICY
	meta "$NAME"
	printf 'spec: {policyName: %s, validationActions: [Deny]}\n' "$NAME"
}

# --- the agent itself --------------------------------------------------------------

# print_namespace prints the namespace of the agent, which runs nothing that needs
# rights of the node.
print_namespace() {
	cat <<NAMESPACE
apiVersion: v1
kind: Namespace
metadata:
  name: $NAME
  labels:
    app.kubernetes.io/name: crane
    fairlead.dev/node: "$NODE_ID"
    pod-security.kubernetes.io/enforce: restricted
NAMESPACE
}

# variable NAME VALUE prints one variable of the agent; check_values has made sure
# that values hold neither quotes nor backslashes.
variable() { printf '        - {name: %s, value: "%s"}\n' "$1" "$2"; }

# print_deployment prints what runs the agent. One pod at a time: two would be one
# agent twice. What it has to keep is in the secret crane-state; its folder goes
# with the pod. When it replaces itself it changes image, environment and strategy,
# and gives the strategy back.
print_deployment() {
	printf 'apiVersion: apps/v1\nkind: Deployment\n'
	meta crane "$NAME"
	cat <<DEPLOYMENT
spec:
  replicas: 1
  revisionHistoryLimit: 2
  strategy: {type: Recreate}
  selector: {matchLabels: {app.kubernetes.io/name: crane}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: crane, fairlead.dev/node: "$NODE_ID"}
      annotations: {fairlead.dev/enrolment: "$ENROLMENT_ID"}
    spec:
      serviceAccountName: crane
      automountServiceAccountToken: true
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: {type: RuntimeDefault}
DEPLOYMENT
	if [ -n "$PULL_SECRET" ]; then printf '      imagePullSecrets: [{name: %s}]\n' "$PULL_SECRET"; fi
	cat <<DEPLOYMENT
      containers:
      - name: crane
        image: "$IMAGE"
        imagePullPolicy: $PULL_POLICY
        args: [run]
        terminationMessagePolicy: FallbackToLogsOnError
        env:
DEPLOYMENT
	variable CRANE_STATE_DIR /var/lib/fairlead-agent/state
	variable CRANE_OWN_NAMESPACE "$NAME"
	variable CRANE_STATE_SECRET crane-state
	variable CRANE_LEASE crane
	variable CRANE_IMAGE "$IMAGE"
	variable CRANE_ENROLMENT_FILE /enrolment/enrol.json
	variable CRANE_RELEASE_KEY "$RELEASE_KEY_RAW"
	variable FAIRLEAD_UPDATE_ID "$UPDATE_ID"
	if [ -n "$NAMESPACES" ]; then variable CRANE_NAMESPACES "$(printf '%s' "$NAMESPACES" | tr ' ' ',')"; fi
	for name in HTTPS_PROXY NO_PROXY; do
		eval "value=\${$name:-}"
		if [ -n "$value" ]; then variable $name "$value"; fi
	done
	cat <<'DEPLOYMENT'
        readinessProbe:
          exec: {command: [/crane, healthcheck]}
          periodSeconds: 10
          timeoutSeconds: 10
        resources:
          requests: {cpu: 50m, memory: 64Mi}
          limits: {memory: 512Mi}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        volumeMounts:
        - {name: state, mountPath: /var/lib/fairlead-agent}
        - {name: enrolment, mountPath: /enrolment, readOnly: true}
      volumes:
      - {name: state, emptyDir: {sizeLimit: 256Mi}}
      - {name: enrolment, secret: {secretName: crane-enrolment, optional: true}}
DEPLOYMENT
}

print_manifest() {
	print_namespace
	printf -- '---\n'
	print_access
	printf -- '---\n'
	print_deployment
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

# --- the image ----------------------------------------------------------------

machine_arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64 | arm64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# save_archive is for a registry of the cluster.
save_archive() {
	ARCH=${ARCH:-$(machine_arch)}
	artifact_for "$ARCH" || die "the controller has no agent for the architecture $ARCH"
	[ ! -e "$SAVE" ] || die "$SAVE is there already"
	take_archive
	cp "$WORK/agent.tar" "$SAVE"
	say "the image $ARCHIVE_IMAGE is in $SAVE; push it where the cluster's nodes can pull it, so that it keeps"
	say "its digest, by which the agent asks for it when it is updated: as go-containerregistry's crane does,"
	say "  crane push $SAVE registry.example.org/fairlead/crane:$VERSION"
	say "and run this script with --image registry.example.org/fairlead/crane:$VERSION"
}

# load_image gives the archive to this machine's containerd, as Kubernetes uses it.
load_image() {
	take_archive
	if have k3s; then
		set -- k3s ctr
	else
		set -- ctr
	fi
	"$@" --namespace k8s.io images import "$WORK/agent.tar" >"$WORK/import.log" 2>&1 ||
		die "could not give the image to containerd: $(tail -n 1 "$WORK/import.log")"
}

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

# --- the things this script does ------------------------------------------------

check_all() {
	check_tools
	check_cluster
	check_controller
	check_owner
	check_installed
	check_image
	check_values
	check_identity
	[ "$PROBLEMS" -eq 0 ] || die "nothing was changed; problems found: $PROBLEMS"
}

install_agent() {
	check_all
	if [ -n "$DRY" ]; then
		if [ -n "$LOAD" ]; then say "would take ${ARCHIVE:-$CONTROLLER_URL$ARTIFACT_PATH}, check its SHA-256 and signature, and give it to containerd"; fi
		say "would apply the agent $VERSION ($IMAGE) in namespace $NAME, with rights in ${NAMESPACES:-every namespace that it makes}"
		if [ -z "$KEEP" ]; then say "would enrol the cluster at $AGENT_ADDR as node $NODE_NAME"; fi
		say "nothing was changed"
		return 0
	fi
	if [ -n "$LOAD" ]; then load_image; fi
	CHANGING=yes
	apply_agent
	wait_for_agent
	CHANGING=
	kubectl delete secret crane-enrolment --namespace "$NAME" --ignore-not-found >/dev/null
	say "done: this cluster is node $NODE_NAME of $CONTROLLER_URL (agent $VERSION in namespace $NAME)"
	say "to remove the agent later, keep this script and run it with --uninstall"
}

uninstall_agent() {
	check_tools
	check_cluster
	check_owner
	[ "$PROBLEMS" -eq 0 ] || die "nothing was changed; problems found: $PROBLEMS"
	say "removing the agent; the workloads it deployed keep running, and the controller keeps the node until it is deleted there"
	remove_agent
}

main() {
	DRY=
	AGAIN=
	LOAD=
	SAVE=
	ARCHIVE=
	IMAGE=
	PULL_SECRET=
	NAMESPACES=
	SAID_NAMESPACES=
	ACT=install_agent
	while [ $# -gt 0 ]; do
		case $1 in
		--dry-run) DRY=yes ;;
		--enrol-again) AGAIN=yes ;;
		--load) LOAD=yes ;;
		--image | --pull-secret | --namespaces | --save | --archive)
			[ $# -gt 1 ] || {
				warn "$1 needs a value"
				return 2
			}
			case $1 in
			--image) IMAGE=$2 ;;
			--pull-secret) PULL_SECRET=$2 ;;
			--namespaces) NAMESPACES=$(printf '%s' "$2" | tr ',' ' ') SAID_NAMESPACES=yes ;;
			--save) SAVE=$2 ACT=save_archive ;;
			--archive) ARCHIVE=$2 ;;
			esac
			shift
			;;
		--uninstall) ACT=uninstall_agent ;;
		--manifest) ACT=print_only ;;
		--show)
			show
			return 0
			;;
		--version)
			printf '%s\n' "$VERSION"
			return 0
			;;
		--help | -h)
			usage
			return 0
			;;
		*)
			warn "unknown option $1"
			usage >&2
			return 2
			;;
		esac
		shift
	done
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	WORK=$(mktemp -d) || die "could not make a temporary folder: is there room in ${TMPDIR:-/tmp}?"
	$ACT
}

{ main "$@"; }
