package kube

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// List returns each workload of ours, and each Deployment, Job or lone pod of
// others. A workload's engine id is that of its replica set, which stays as
// long as its content does; its state is that of its newest pod.
func (d *Driver) List(ctx context.Context) ([]workload.Container, error) {
	w, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	var all []workload.Container
	for _, deployment := range w.deployments {
		all = append(all, w.container(deployment))
	}
	for _, job := range w.jobs {
		all = append(all, w.containerOfJob(job))
	}
	for _, pod := range w.pods {
		if metav1.GetControllerOf(pod) == nil {
			c := workload.Container{ID: foreignID(pod), EngineID: string(pod.UID), CreatedAt: pod.CreationTimestamp.Time}
			describePod(&c, pod)
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b workload.Container) int {
		return cmp.Or(cmp.Compare(a.ID.Prefix, b.ID.Prefix), cmp.Compare(a.ID.Name, b.ID.Name))
	})
	return all, nil
}

func foreignID(o metav1.Object) workload.ContainerID {
	return workload.ContainerID{Name: spec.ContainerName(o.GetNamespace(), o.GetName())}
}

// identify fills in what an object says of itself.
func identify(o metav1.Object, uid string) workload.Container {
	c := workload.Container{ID: foreignID(o), EngineID: uid, CreatedAt: o.GetCreationTimestamp().Time}
	if !isOurs(o) {
		return c
	}
	c.ID = workload.ContainerID{Prefix: o.GetNamespace(), Name: o.GetLabels()[labelWorkload]}
	if isHook(o) {
		c.ID.Name = o.GetName()
	}
	c.Managed = true
	c.DeploymentID = o.GetLabels()[labelDeployment]
	c.InstanceID = o.GetAnnotations()[noteInstance]
	c.SpecHash = o.GetAnnotations()[noteSpecHash]
	c.Release, _ = strconv.ParseInt(o.GetAnnotations()[noteRelease], 10, 64)
	return c
}

func (w world) container(deployment *appsv1.Deployment) workload.Container {
	uid := string(deployment.UID)
	set := w.current(deployment)
	var pods []*corev1.Pod
	if set != nil {
		uid, pods = string(set.UID), w.podsOf(set)
	}
	c := identify(deployment, uid)
	describeTemplate(&c, deployment.Spec.Template.Spec)
	// While new pods come up the old ones serve.
	if !slices.ContainsFunc(pods, runs) {
		if serving := slices.DeleteFunc(w.podsOfOlder(deployment, set), func(p *corev1.Pod) bool { return !runs(p) }); len(serving) > 0 {
			pods = serving
		}
	}
	switch {
	case len(pods) > 0:
		describePod(&c, pods[0])
		for _, pod := range pods {
			c.RestartCount = max(c.RestartCount, restarts(pod))
			noteEnd(&c, pod)
		}
		for _, pod := range w.evicted {
			if set != nil && metav1.IsControlledBy(pod, set) {
				noteEnd(&c, pod)
			}
		}
	case deployment.Spec.Replicas != nil && *deployment.Spec.Replicas == 0:
		c.State, c.Reason = spec.StateExited, "scaled to zero"
	default:
		c.State, c.Reason = spec.StateWaiting, "no pod yet"
	}
	return c
}

// runs reports whether a pod's first container runs.
func runs(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

// podsOfOlder returns the pods of a deployment's replica sets but one.
func (w world) podsOfOlder(deployment *appsv1.Deployment, but *appsv1.ReplicaSet) []*corev1.Pod {
	var found []*corev1.Pod
	for _, set := range w.replicaSets {
		if metav1.IsControlledBy(set, deployment) && (but == nil || set.UID != but.UID) {
			found = append(found, w.podsOf(set)...)
		}
	}
	return found
}

func (w world) containerOfJob(job *batchv1.Job) workload.Container {
	c := identify(job, string(job.UID))
	describeTemplate(&c, job.Spec.Template.Spec)
	c.State, c.Reason = spec.StateWaiting, "no pod yet"
	if pods := w.podsOf(job); len(pods) > 0 {
		describePod(&c, pods[0])
	} else if job.Status.Succeeded > 0 {
		c.State, c.Reason = spec.StateExited, "Completed"
	}
	return c
}

func describeTemplate(c *workload.Container, pod corev1.PodSpec) {
	if len(pod.Containers) == 0 {
		return
	}
	main := pod.Containers[0]
	c.ImageName, c.ImageTag = splitImage(main.Image)
	c.Command = strings.Join(slices.Concat(main.Command, main.Args), " ")
	for _, port := range main.Ports {
		c.Ports = append(c.Ports, workload.Port{Internal: port.ContainerPort, External: port.HostPort, Protocol: strings.ToLower(string(port.Protocol))})
	}
}

// describePod notes what the pod's first container is at.
func describePod(c *workload.Container, pod *corev1.Pod) {
	if c.ImageName == "" {
		describeTemplate(c, pod.Spec)
	}
	c.State, c.Reason = spec.StateWaiting, string(pod.Status.Phase)
	if len(pod.Status.ContainerStatuses) == 0 {
		if pod.Status.Reason != "" {
			c.Reason = pod.Status.Reason
		}
		return
	}
	status := pod.Status.ContainerStatuses[0]
	_, c.ImageDigest, _ = strings.Cut(status.ImageID, "@")
	if c.ImageDigest == "" {
		c.ImageDigest = status.ImageID
	}
	c.RestartCount = int(status.RestartCount)
	if last := status.LastTerminationState.Terminated; last != nil {
		ended(c, last)
	}
	switch {
	case status.State.Running != nil:
		c.State, c.Reason = spec.StateRunning, "running"
		c.StartedAt = status.State.Running.StartedAt.Time
		c.ExitCode, c.OOMKilled = 0, false
		c.Health = health(pod, status)
	case status.State.Terminated != nil:
		c.State, c.Reason = spec.StateExited, status.State.Terminated.Reason
		if pod.Status.Reason != "" { // such as Evicted, which says more than Error
			c.Reason = pod.Status.Reason
		}
		ended(c, status.State.Terminated)
		c.EndReason = whyEvicted(pod)
	case status.State.Waiting != nil:
		c.Reason = status.State.Waiting.Reason
	}
}

// noteEnd notes an end that is later than those of the pods before: that one
// replica ended, or was evicted, is told though the newest runs.
func noteEnd(c *workload.Container, pod *corev1.Pod) {
	if len(pod.Status.ContainerStatuses) == 0 {
		return
	}
	t := endedBadly(pod.Status.ContainerStatuses[0])
	if t == nil || !t.FinishedAt.After(c.FinishedAt) {
		return
	}
	c.FinishedAt, c.EndReason = t.FinishedAt.Time, ""
	if pod.Status.ContainerStatuses[0].State.Terminated != nil { // else it was started again in its pod
		c.EndReason = whyEvicted(pod)
	}
	if c.State != spec.StateRunning {
		c.ExitCode, c.OOMKilled = int(t.ExitCode), t.Reason == "OOMKilled"
	}
	if c.StartedAt.IsZero() { // the newest waits still, in place of this one
		c.StartedAt = t.StartedAt.Time
	}
}

// whyEvicted is why a pod was evicted, or ended by the cluster otherwise, in the
// cluster's words; "" when it was not.
func whyEvicted(pod *corev1.Pod) string {
	if pod.Status.Reason != "" {
		return strings.TrimSuffix(pod.Status.Reason+": "+pod.Status.Message, ": ")
	}
	if c := disruption(pod); c != nil {
		return strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
	}
	return ""
}

// disruption is the condition by which the cluster tells that it ends a pod: one
// that is evicted, preempted or on a node that is gone; nil when it does not.
func disruption(pod *corev1.Pod) *corev1.PodCondition {
	for i, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func ended(c *workload.Container, t *corev1.ContainerStateTerminated) {
	c.ExitCode, c.OOMKilled = int(t.ExitCode), t.Reason == "OOMKilled"
	c.StartedAt, c.FinishedAt = t.StartedAt.Time, t.FinishedAt.Time
}

// health is what the probes say; nothing where there is none.
func health(pod *corev1.Pod, status corev1.ContainerStatus) string {
	main := pod.Spec.Containers[0]
	switch {
	case main.ReadinessProbe == nil && main.StartupProbe == nil:
		return ""
	case status.Ready:
		return "healthy"
	case status.Started == nil || !*status.Started:
		return "starting"
	default:
		return "unhealthy"
	}
}

func restarts(pod *corev1.Pod) int {
	n := 0
	for _, status := range pod.Status.ContainerStatuses {
		n += int(status.RestartCount)
	}
	return n
}

func newestFirst(pods []*corev1.Pod) {
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

func splitImage(text string) (name, tag string) {
	named, err := reference.ParseDockerRef(text)
	if err != nil {
		return text, ""
	}
	name = reference.FamiliarName(named)
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	return name, tag
}
