package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// target is what a command acts on.
type target struct {
	namespace, name, kind string
	world                 world
	seen                  workload.Container
}

// find finds what an id names: a workload of ours, else a refusal.
func (d *Driver) find(ctx context.Context, id workload.ContainerID) (target, error) {
	if id.Prefix == "" {
		return d.glance(ctx, id)
	}
	w, err := d.lookAt(ctx, id.Prefix)
	if err != nil {
		return target{}, err
	}
	return w.find(id)
}

// glance is find by what is seen of the cluster anyway, while it is watched.
func (d *Driver) glance(ctx context.Context, id workload.ContainerID) (target, error) {
	look := d.look
	if id.Prefix != "" && d.seen.Load() == nil {
		look = func(ctx context.Context) (world, error) { return d.lookAt(ctx, id.Prefix) }
	}
	w, err := look(ctx)
	if err != nil {
		return target{}, err
	}
	return w.find(id)
}

func (w world) find(id workload.ContainerID) (target, error) {
	shown := spec.ContainerName(id.Prefix, id.Name)
	if id.Prefix != "" {
		if deployment := w.deployment(id.Prefix, id.Name); deployment != nil {
			if !isOurs(deployment) {
				return target{}, apperr.New(apperr.Forbidden, "%s was not made by this agent", shown)
			}
			return target{id.Prefix, deployment.Name, "Deployment", w, w.container(deployment)}, nil
		}
		if job := w.job(id.Prefix, id.Name); job != nil {
			return target{id.Prefix, job.Name, "Job", w, w.containerOfJob(job)}, nil
		}
		return target{}, apperr.New(apperr.NotFound, "there is no workload %s", shown)
	}
	for _, deployment := range w.deployments {
		if !isOurs(deployment) && foreignID(deployment) == id {
			return target{deployment.Namespace, deployment.Name, "Deployment", w, w.container(deployment)}, nil
		}
	}
	for _, pod := range w.pods {
		if metav1.GetControllerOf(pod) == nil && foreignID(pod) == id {
			c := workload.Container{ID: id}
			describePod(&c, pod)
			return target{pod.Namespace, pod.Name, "Pod", w, c}, nil
		}
	}
	return target{}, apperr.New(apperr.NotFound, "there is no workload %s", shown)
}

// own finds a Deployment of ours to act on.
func (d *Driver) own(ctx context.Context, verb string, id workload.ContainerID) (target, error) {
	t, err := d.find(ctx, id)
	if err != nil {
		return t, err
	}
	if !t.seen.Managed {
		return t, apperr.New(apperr.Forbidden, "%s %s: it was not made by this agent", verb, t.seen.ID.Name)
	}
	return t, nil
}

func (d *Driver) ownDeployment(ctx context.Context, verb string, id workload.ContainerID) (target, error) {
	t, err := d.own(ctx, verb, id)
	if err == nil && t.kind != "Deployment" {
		return t, apperr.New(apperr.Precondition, "%s %s: it runs once, as a job; start its deployment again instead", verb, id.Name)
	}
	return t, err
}

// Start brings a workload back to the replicas it had, and waits for the first.
func (d *Driver) Start(ctx context.Context, id workload.ContainerID) error {
	t, err := d.ownDeployment(ctx, "start", id)
	if err != nil {
		return err
	}
	deployment := t.world.deployment(t.namespace, t.name)
	if ptr.Deref(deployment.Spec.Replicas, 1) > 0 {
		return nil
	}
	replicas, err := strconv.ParseInt(deployment.Annotations[noteReplicas], 10, 32)
	if err != nil || replicas < 1 {
		replicas = spec.DefaultReplicas
	}
	if err := d.patch(ctx, t, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{noteReplicas: nil}},
		"spec":     map[string]any{"replicas": replicas},
	}); err != nil {
		return err
	}
	return d.awaitAvailable(ctx, t)
}

// Stop scales a workload to zero and waits until its pods have ended.
func (d *Driver) Stop(ctx context.Context, id workload.ContainerID) error {
	t, err := d.ownDeployment(ctx, "stop", id)
	if err != nil {
		return err
	}
	now := ptr.Deref(t.world.deployment(t.namespace, t.name).Spec.Replicas, 1)
	if now > 0 {
		if err := d.patch(ctx, t, map[string]any{
			"metadata": map[string]any{"annotations": map[string]string{noteReplicas: strconv.Itoa(int(now))}},
			"spec":     map[string]any{"replicas": 0},
		}); err != nil {
			return err
		}
	}
	return d.awaitNoPods(ctx, t.namespace, selector(id.Name))
}

// Restart replaces the pods of a workload, new ones before old ones where they
// can run side by side.
func (d *Driver) Restart(ctx context.Context, id workload.ContainerID) error {
	t, err := d.ownDeployment(ctx, "restart", id)
	if err != nil {
		return err
	}
	if ptr.Deref(t.world.deployment(t.namespace, t.name).Spec.Replicas, 1) == 0 {
		return d.Start(ctx, id)
	}
	at := d.options.Now().UTC().Format(time.RFC3339Nano)
	if err := d.patch(ctx, t, map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{noteRestarted: at}},
	}}}); err != nil {
		return err
	}
	return d.awaitAvailable(ctx, t)
}

// Delete deletes a workload's Deployment or Job and waits until its pods have
// ended. What it needs stays, for when it is deployed again.
func (d *Driver) Delete(ctx context.Context, id workload.ContainerID) error {
	t, err := d.own(ctx, "delete", id)
	if err != nil {
		return err
	}
	if err := d.disown(ctx, t.namespace, t.kind, t.name); err != nil {
		return err
	}
	policy := metav1.DeletePropagationBackground
	err = d.objects.Resource(resourceOf(t.kind)).Namespace(t.namespace).Delete(ctx, t.name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil {
		return clusterError(err, "delete %s", id.Name)
	}
	return d.awaitNoPods(ctx, t.namespace, selector(id.Name))
}

func (d *Driver) patch(ctx context.Context, t target, change map[string]any) error {
	body, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode a change of %s: %w", t.name, err)
	}
	_, err = d.client.AppsV1().Deployments(t.namespace).
		Patch(ctx, t.name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	return clusterError(err, "change %s", t.name)
}

// awaitAvailable waits until a Deployment's present pods run.
func (d *Driver) awaitAvailable(ctx context.Context, t target) error {
	err := wait.PollUntilContextTimeout(ctx, pollPods, d.options.HealthTimeout, true, func(ctx context.Context) (bool, error) {
		w, err := d.lookAt(ctx, t.namespace)
		if err != nil {
			return false, err
		}
		deployment := w.deployment(t.namespace, t.name)
		if deployment == nil {
			return false, apperr.New(apperr.NotFound, "%s is gone", t.name)
		}
		s, want := deployment.Status, ptr.Deref(deployment.Spec.Replicas, 1)
		return s.ObservedGeneration >= deployment.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.ReadyReplicas == want, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return apperr.New(apperr.Unavailable, "%s is not ready after %s", t.name, d.options.HealthTimeout)
	}
	return err //nolint:wrapcheck // of the condition, or the end of ctx
}
