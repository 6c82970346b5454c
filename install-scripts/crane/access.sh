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
