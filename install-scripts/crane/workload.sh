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
