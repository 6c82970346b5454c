package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Plan tells what Apply would do now. What changes is asked of the API server,
// which applies the change without keeping it.
func (d *Driver) Plan(ctx context.Context, dep spec.Deployment) (workload.Plan, error) {
	if err := d.Check(dep); err != nil {
		return workload.Plan{}, err
	}
	w, err := d.lookAt(ctx, dep.Prefix)
	if err != nil {
		return workload.Plan{}, err
	}
	plan, err := w.plan(dep)
	if err != nil {
		return workload.Plan{}, err
	}
	for i, wl := range dep.Workloads {
		if a := plan.Workloads[i].Action; a != workload.ActionReplace && a != workload.ActionRecreate {
			continue
		}
		if plan.Workloads[i].Changes, err = d.changes(ctx, dep, wl); err != nil {
			return workload.Plan{}, err
		}
	}
	return plan, nil
}

// plan compares what is there with what is asked for. It fails with Conflict
// when something of others bears a workload's name.
func (w world) plan(dep spec.Deployment) (workload.Plan, error) {
	var plan workload.Plan
	named := map[string]bool{}
	for _, wl := range dep.Workloads {
		named[wl.Name()] = true
		planned, err := w.planOne(dep, wl)
		if err != nil {
			return plan, err
		}
		if brings(planned) {
			planned.Hooks = wl.HookKinds()
		}
		plan.Workloads = append(plan.Workloads, planned)
	}
	var retired []workload.PlannedWorkload
	for _, c := range w.managed() {
		if !named[c.ID.Name] {
			retired = append(retired, workload.PlannedWorkload{
				Name: c.ID.Name, InstanceID: c.InstanceID, Action: workload.ActionRetire, ReplicasNow: 1, Containers: []string{c.EngineID},
			})
		}
	}
	slices.SortFunc(retired, func(a, b workload.PlannedWorkload) int { return cmp.Compare(a.Name, b.Name) })
	plan.Workloads = append(plan.Workloads, retired...)
	return plan, nil
}

// managed lists the workloads of ours.
func (w world) managed() []workload.Container {
	var all []workload.Container
	for _, d := range w.deployments {
		if isOurs(d) {
			all = append(all, w.container(d))
		}
	}
	for _, j := range w.jobs {
		if isOurs(j) && !isHook(j) {
			all = append(all, w.containerOfJob(j))
		}
	}
	return all
}

func (w world) planOne(dep spec.Deployment, wl spec.Workload) (workload.PlannedWorkload, error) {
	p := workload.PlannedWorkload{
		Name: wl.Name(), InstanceID: wl.InstanceID, Action: workload.ActionCreate, Image: wl.Image.Reference,
		ReplicasThen: int(ptr.Deref(wl.Container.Replicas, spec.DefaultReplicas)), SpecHash: wl.Hash, Notes: notes(wl.Container),
	}
	deployment, job := w.deployment(dep.Prefix, wl.Name()), w.job(dep.Prefix, wl.Name())
	switch {
	case deployment != nil && !isOurs(deployment):
		return p, apperr.New(apperr.Conflict,
			"a Deployment named %s is already there (%s) and was not made by this agent; remove or rename it, or choose another prefix or name",
			wl.Name(), spec.ContainerName(dep.Prefix, wl.Name()))
	case deployment == nil && job == nil:
		return p, nil
	case ends(wl.Container) && job != nil && job.Annotations[noteSpecHash] == wl.Hash,
		!ends(wl.Container) && deployment != nil && deployment.Annotations[noteSpecHash] == wl.Hash:
		p.Action = workload.ActionKeep
	case len(downtime(wl.Container)) > 0:
		p.Action, p.Downtime = workload.ActionRecreate, downtime(wl.Container)
	default:
		p.Action = workload.ActionReplace
	}
	var seen workload.Container
	if deployment != nil {
		seen = w.container(deployment)
		p.ReplicasNow = int(ptr.Deref(deployment.Spec.Replicas, 1))
	} else {
		seen, p.ReplicasNow = w.containerOfJob(job), 1
	}
	p.DigestNow, p.Containers = seen.ImageDigest, []string{seen.EngineID}
	if p.Action == workload.ActionKeep && deployment != nil && p.ReplicasNow != p.ReplicasThen {
		if p.ReplicasNow == 0 {
			p.Starts = true
		} else {
			p.Action = workload.ActionScale
		}
	}
	return p, nil
}

func (w world) deployment(namespace, name string) *appsv1.Deployment {
	for _, d := range w.deployments {
		if d.Namespace == namespace && d.Name == name {
			return d
		}
	}
	return nil
}

// job returns the newest job of a workload.
func (w world) job(namespace, name string) *batchv1.Job {
	var found *batchv1.Job
	for _, j := range w.jobs {
		if isOurs(j) && j.Namespace == namespace && j.Labels[labelWorkload] == name &&
			(found == nil || found.CreationTimestamp.Before(&j.CreationTimestamp)) {
			found = j
		}
	}
	return found
}

// notes say what is done otherwise than asked.
func notes(c spec.Container) []string {
	var all []string
	if len(c.PortRanges) > 0 && !balanced(c) {
		all = append(all, "portRanges.external has no effect: the Service serves the internal ports within the cluster")
	}
	if len(c.ExtraLBAnnotations) > 0 && !balanced(c) {
		all = append(all, "extraLBAnnotations has no effect without useLoadBalancer")
	}
	for i, port := range c.Ports {
		if port.External != nil && !balanced(c) {
			all = append(all, fmt.Sprintf("ports[%d].external has no effect: the Service serves port %d within the cluster", i, port.Internal))
		}
	}
	return append(all, ingressNotes(c)...)
}

// changes asks the API server what a workload's Deployment would become, and
// tells which keys of the configuration differ.
func (d *Driver) changes(ctx context.Context, dep spec.Deployment, wl spec.Workload) ([]string, error) {
	made, err := d.build(dep, wl)
	if err != nil {
		return nil, err
	}
	u, err := manifest(made.main)
	if err != nil {
		return nil, err
	}
	resource := d.objects.Resource(resourceOf(u.GetKind())).Namespace(u.GetNamespace())
	live, err := resource.Get(ctx, u.GetName(), metav1.GetOptions{})
	if kerrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "look for %s", describe(u))
	}
	then, err := d.put(ctx, u, true)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	compare("", live.Object["spec"], then.Object["spec"], func(path string) { found[keyOf(path)] = true })
	return slices.Sorted(maps.Keys(found)), nil
}

// compare calls differs for the path of each value that is not the same.
func compare(path string, a, b any, differs func(string)) {
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	if aIsMap && bIsMap {
		keys := maps.Clone(am)
		maps.Copy(keys, bm)
		for key := range keys {
			compare(path+"."+key, am[key], bm[key], differs)
		}
		return
	}
	al, aIsList := a.([]any)
	bl, bIsList := b.([]any)
	if aIsList && bIsList && len(al) == len(bl) {
		for i := range al {
			compare(path+"[]", al[i], bl[i], differs)
		}
		return
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		differs(path)
	}
}

// keyOf is the key of the configuration that a path of a Deployment comes from,
// or the path where none does.
func keyOf(path string) string {
	for _, known := range []struct{ part, key string }{
		{".envFrom", "environment"}, {".image", "image"}, {".args", "args"}, {".command", "commands"}, {".volume", "volumes"},
		{".ports", "ports"}, {".resources", "resourceConfig"}, {"Probe", "healthCheckConfig"}, {".initContainers", "initContainers"},
		{".runAsUser", "user"}, {".capabilities", "capabilities"}, {".tty", "tty"}, {".workingDir", "workingDirectory"},
		{".replicas", "replicas"}, {".template.metadata.labels", "labels"}, {".template.metadata.annotations", "annotations"},
	} {
		if strings.Contains(path, known.part) {
			return known.key
		}
	}
	return strings.TrimPrefix(path, ".")
}
