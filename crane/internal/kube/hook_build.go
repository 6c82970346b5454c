package kube

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/spec"
)

// Labels of the Jobs and pods of hooks: the kind of the hook, and the workload
// that it is of. They have no label of a workload, by which its Service and its
// Deployment would take the pods for their own.
const (
	labelHook   = keyPrefix + "hook"
	labelHookOf = keyPrefix + "hook-of"
)

// maxHookStem leaves room in a label for what follows a workload's name.
const maxHookStem = 38

// hookName is the name of a hook's Job: there is one for each release.
func hookName(dep spec.Deployment, wl spec.Workload, kind spec.HookKind) string {
	stem := strings.TrimRight(wl.Name()[:min(len(wl.Name()), maxHookStem)], "-")
	of := contentHash(map[string]string{
		"deployment": dep.ID, "release": fmt.Sprint(dep.Release), "instance": wl.InstanceID, "workload": wl.Name(),
	})
	return fmt.Sprintf("%s-%s-%s", stem, kind, of)
}

func isHook(o metav1.Object) bool { return isOurs(o) && o.GetLabels()[labelHook] != "" }

// isOurHook reports whether a hook's Job is of the release that is applied.
func (a *applying) isOurHook(o metav1.Object) bool {
	return o.GetLabels()[labelDeployment] == a.dep.ID && o.GetAnnotations()[noteRelease] == fmt.Sprint(a.dep.Release)
}

// hookJob makes the Job of a hook: a pod that is as the workload's, but serves
// nothing, runs no init containers and is not run again. The one of a
// post-deploy hook waits to be let go.
func (d *Driver) hookJob(dep spec.Deployment, wl spec.Workload, kind spec.HookKind) (*batchv1.Job, error) {
	b, err := d.build(dep, wl)
	if err != nil {
		return nil, err
	}
	var pod corev1.PodSpec
	switch main := b.main.(type) {
	case *appsv1.Deployment:
		pod = main.Spec.Template.Spec
	case *batchv1.Job:
		pod = main.Spec.Template.Spec
	default:
		return nil, fmt.Errorf("the pod of %s is in a %T", wl.Name(), main)
	}
	hook := wl.Hook(kind)
	pod.RestartPolicy, pod.InitContainers = corev1.RestartPolicyNever, nil
	c := &pod.Containers[0]
	c.Command, c.Args, c.TTY, c.Ports = words(hook.Command), words(hook.Args), false, nil
	c.LivenessProbe, c.ReadinessProbe, c.StartupProbe = nil, nil, nil
	labels := map[string]string{labelManaged: managedBy, labelHook: string(kind), labelHookOf: wl.Name()}
	described := meta(dep, wl, hookName(dep, wl, kind))
	delete(described.Labels, labelWorkload)
	for key, value := range labels {
		described.Labels[key] = value
	}
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: described,
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To(int32(0)), ActiveDeadlineSeconds: ptr.To(int64(hook.TimeoutSeconds)),
			Suspend:  ptr.To(kind == spec.HookPostDeploy),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}, nil
}
