package kube

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/spec"
)

// Labels and annotations of the agent. The label of the workload, with the one
// that names us, is what pods are selected by: neither ever changes.
const (
	keyPrefix = "fairlead.dev/"

	labelManaged    = "app.kubernetes.io/managed-by"
	managedBy       = "fairlead"
	labelWorkload   = keyPrefix + "workload"
	labelDeployment = keyPrefix + "deployment"
	// labelKeep is on what outlives its deployment: volumes.
	labelKeep = keyPrefix + "keep"

	noteInstance = keyPrefix + "instance"
	noteRelease  = keyPrefix + "release"
	noteSpecHash = keyPrefix + "spec-hash"
	// noteSecretVariables names the variables that come from a secret.
	noteSecretVariables = keyPrefix + "secret-variables"
	// noteReplicas remembers how many there should be while there are none.
	noteReplicas = keyPrefix + "replicas"
	// noteDrift is the policy on changes by others, where it says to correct them.
	noteDrift = keyPrefix + "drift"
	// noteRestarted is when the pods of a workload were last asked to restart.
	noteRestarted = keyPrefix + "restarted-at"
)

// ours selects every object of the agent's making.
const ours = labelManaged + "=" + managedBy

// selector selects what belongs to one workload of a namespace.
func selector(workload string) string { return ours + "," + labelWorkload + "=" + workload }

// podLabels are on the pods of a workload, and select them.
func podLabels(workload string) map[string]string {
	return map[string]string{labelManaged: managedBy, labelWorkload: workload}
}

// meta names an object of a workload, and says whose it is.
func meta(dep spec.Deployment, w spec.Workload, name string) metav1.ObjectMeta {
	labels := podLabels(w.Name())
	labels[labelDeployment] = dep.ID
	notes := map[string]string{
		noteInstance: w.InstanceID,
		noteRelease:  strconv.FormatInt(dep.Release, 10),
		noteSpecHash: w.Hash,
	}
	if dep.Policy.Drift == spec.DriftCorrect {
		notes[noteDrift] = string(spec.DriftCorrect)
	}
	return metav1.ObjectMeta{Namespace: dep.Prefix, Name: name, Labels: labels, Annotations: notes}
}

func isOurs(o metav1.Object) bool { return o.GetLabels()[labelManaged] == managedBy }
