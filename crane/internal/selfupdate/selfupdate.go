// Package selfupdate replaces the agent's pod by one of another build, by rolling
// the Deployment that both are of.
//
// While an update is under way the Deployment rolls: the new pod, the candidate,
// comes up beside the old one, which stays until the candidate is ready, which it
// is once it has taken over. At all other times the Deployment has what the
// install script gave it, the strategy Recreate. To go back is to put the template
// back that the old pod was made from: Kubernetes then ends the candidate and
// leaves the old pod as it is.
package selfupdate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/apperr"
)

const (
	// EnvUpdateID tells a new agent the update that started it.
	EnvUpdateID = "FAIRLEAD_UPDATE_ID"
	// EnvImage tells an agent the image that it runs.
	EnvImage = "CRANE_IMAGE"

	// containerName is the agent's in its pod.
	containerName = "crane"
	// labelArch is the label of nodes that tells their architecture.
	labelArch = "kubernetes.io/arch"
	// hashLabel is what the Deployment adds to the template of a ReplicaSet.
	hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

	// lookEvery is how often a pod is looked at that something is waited for of.
	lookEvery = time.Second

	runScriptAgain = "make a new install script for the node and run it against the cluster"
)

var _ agentrt.Replacer = (*Replacer)(nil)

// Config is what a Replacer needs.
type Config struct {
	Client kubernetes.Interface
	// Namespace and Pod name the pod that this process runs in.
	Namespace, Pod string
	// Proof returns what the candidate left once it had proven itself: the update
	// and the version; empty before.
	Proof func(ctx context.Context) (updateID, version string, err error)
}

// Replacer replaces the pod of the agent.
type Replacer struct{ Config }

// New returns a Replacer.
func New(c Config) *Replacer { return &Replacer{c} }

// own is what this process's pod was made from.
type own struct {
	deployment string
	template   corev1.PodTemplateSpec
}

// container is the agent's in the template.
func (o own) container() corev1.Container {
	return o.template.Spec.Containers[agentIn(o.template.Spec)]
}

// agentIn returns where in a pod the agent's container is; -1 when it is nowhere.
func agentIn(pod corev1.PodSpec) int {
	return slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == containerName })
}

// own finds it: the template is that of the pod's ReplicaSet.
func (r *Replacer) own(ctx context.Context) (own, error) {
	pod, err := r.Client.CoreV1().Pods(r.Namespace).Get(ctx, r.Pod, metav1.GetOptions{})
	if err != nil {
		return own{}, clusterError(err, "find the agent's own pod")
	}
	set, err := r.Client.AppsV1().ReplicaSets(r.Namespace).Get(ctx, ownerOf(pod, "ReplicaSet"), metav1.GetOptions{})
	if err != nil {
		return own{}, clusterError(err, "find what made the agent's own pod")
	}
	o := own{deployment: ownerOf(set, "Deployment"), template: *set.Spec.Template.DeepCopy()}
	delete(o.template.Labels, hashLabel)
	if o.deployment == "" || agentIn(o.template.Spec) < 0 {
		return own{}, apperr.New(apperr.Unsupported, "the agent's pod is not of a Deployment that an install script made: %s", runScriptAgain)
	}
	return o, nil
}

func ownerOf(object metav1.Object, kind string) string {
	if owner := metav1.GetControllerOf(object); owner != nil && owner.Kind == kind {
		return owner.Name
	}
	return ""
}

// Self returns the image that this pod runs. Unsupported when it may not change its
// Deployment.
func (r *Replacer) Self(ctx context.Context) (string, error) {
	o, err := r.own(ctx)
	if err != nil {
		return "", err
	}
	err = r.change(ctx, o.deployment, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, func(*appsv1.Deployment) bool { return true })
	return o.container().Image, err
}

// Start has the Deployment make a pod of the build, beside this one, and waits until
// it runs.
func (r *Replacer) Start(ctx context.Context, b agentrt.Build) error {
	o, err := r.own(ctx)
	if err != nil {
		return err
	}
	image, err := imageIn(b.Archive)
	if err != nil {
		return err
	}
	reference := image.referenceBeside(o.container())
	err = r.change(ctx, o.deployment, metav1.PatchOptions{}, func(d *appsv1.Deployment) bool {
		d.Spec.Strategy = beside()
		d.Spec.Template = *o.template.DeepCopy()
		candidate(&d.Spec.Template.Spec, reference, image.architecture, b.ID)
		return true
	})
	if err != nil {
		return err
	}
	return r.awaitRunning(ctx, b, image, reference)
}

// beside is the strategy by which the new pod comes up before the old one goes.
func beside() appsv1.DeploymentStrategy {
	none, one := intstr.FromInt32(0), intstr.FromInt32(1)
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &one},
	}
}

// restoreStrategy gives a Deployment the strategy of the install script; it reports
// whether it had another.
func restoreStrategy(d *appsv1.Deployment) bool {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return false
	}
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	return true
}

// candidate makes a template the new agent's.
func candidate(pod *corev1.PodSpec, image, architecture, updateID string) {
	agent := &pod.Containers[agentIn(*pod)]
	agent.Image = image
	set(&agent.Env, EnvImage, image)
	set(&agent.Env, EnvUpdateID, updateID)
	if pod.NodeSelector == nil {
		pod.NodeSelector = map[string]string{}
	}
	pod.NodeSelector[labelArch] = architecture
}

// set sets a variable, where it stands when it is there.
func set(env *[]corev1.EnvVar, name, value string) {
	v := corev1.EnvVar{Name: name, Value: value}
	if at := slices.IndexFunc(*env, func(v corev1.EnvVar) bool { return v.Name == name }); at >= 0 {
		(*env)[at] = v
		return
	}
	*env = append(*env, v)
}

// updateOf returns the update that a pod was started by; "" when by none.
func updateOf(pod corev1.PodSpec) string {
	if at := agentIn(pod); at >= 0 {
		for _, v := range pod.Containers[at].Env {
			if v.Name == EnvUpdateID {
				return v.Value
			}
		}
	}
	return ""
}

// Discard puts the template back that this pod was made from, and waits until the
// candidate is told to end.
func (r *Replacer) Discard(ctx context.Context, id string) error {
	o, err := r.own(ctx)
	if err != nil {
		return err
	}
	if updateOf(o.template.Spec) == id {
		return apperr.New(apperr.Conflict, "this pod is the one of the update %s itself", id)
	}
	err = r.change(ctx, o.deployment, metav1.PatchOptions{}, func(d *appsv1.Deployment) bool {
		mine := updateOf(d.Spec.Template.Spec) == id
		if mine {
			d.Spec.Template = o.template
		}
		return restoreStrategy(d) || mine
	})
	if err != nil {
		return err
	}
	return r.awaitPods(ctx, func(pods []corev1.Pod) error {
		for _, p := range pods {
			if updateOf(p.Spec) == id {
				return apperr.New(apperr.Unavailable, "the new agent's pod %s is still there", p.Name)
			}
		}
		return nil
	})
}

// Keep has nothing to do: Kubernetes starts again what ends.
func (r *Replacer) Keep(context.Context, string) error { return nil }

// Succeed gives the Deployment its strategy back, and waits until the old pod is
// told to end.
func (r *Replacer) Succeed(ctx context.Context, id, _ string) error {
	o, err := r.own(ctx)
	if err != nil {
		return err
	}
	if updateOf(o.template.Spec) != id {
		return apperr.New(apperr.Conflict, "this pod is not of the update %s", id)
	}
	err = r.change(ctx, o.deployment, metav1.PatchOptions{}, func(d *appsv1.Deployment) bool {
		return restoreStrategy(d)
	})
	if err != nil {
		return err
	}
	return r.awaitPods(ctx, func(pods []corev1.Pod) error {
		for _, p := range pods {
			if updateOf(p.Spec) != id {
				return apperr.New(apperr.Unavailable, "the old agent's pod %s is still there", p.Name)
			}
		}
		return nil
	})
}

// Stop has no pod of the agent run any more, and says in the Deployment why.
func (r *Replacer) Stop(ctx context.Context, why string) error {
	o, err := r.own(ctx)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{"fairlead.dev/stopped": why}},
		"spec":     map[string]any{"replicas": 0},
	})
	if err != nil {
		return fmt.Errorf("stop the agent: %w", err)
	}
	_, err = r.Client.AppsV1().Deployments(r.Namespace).Patch(ctx, o.deployment, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return clusterError(err, "stop the agent")
}

// change changes strategy and template of the Deployment as edit does, unless that
// returns false. What others changed meanwhile is looked at again.
func (r *Replacer) change(ctx context.Context, name string, options metav1.PatchOptions, edit func(*appsv1.Deployment) bool) error {
	deployments := r.Client.AppsV1().Deployments(r.Namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		d, err := deployments.Get(ctx, name, metav1.GetOptions{})
		if err != nil || !edit(d) {
			return err
		}
		patch, err := json.Marshal([]map[string]any{
			{"op": "replace", "path": "/metadata/resourceVersion", "value": d.ResourceVersion},
			{"op": "replace", "path": "/spec/strategy", "value": d.Spec.Strategy},
			{"op": "replace", "path": "/spec/template", "value": d.Spec.Template},
		})
		if err != nil {
			return err
		}
		_, err = deployments.Patch(ctx, name, types.JSONPatchType, patch, options)
		return err
	})
	return clusterError(err, "change the agent's own Deployment")
}

// clusterError says what was tried; a missing right is one that a newer install
// script gives.
func clusterError(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case kerrors.IsForbidden(err):
		return apperr.Wrap(apperr.Unsupported, err, "the agent was installed by a script that did not let it replace itself: %s", runScriptAgain)
	case kerrors.IsNotFound(err):
		return apperr.Wrap(apperr.Unsupported, err, "%s", what)
	default:
		return apperr.Wrap(apperr.Unavailable, err, "%s", what)
	}
}

// awaitPods looks at the agent's pods, but for those that are ending, until done
// finds nothing more to wait for.
func (r *Replacer) awaitPods(ctx context.Context, done func([]corev1.Pod) error) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		pods, err := r.pods(ctx)
		if err == nil {
			err = done(pods)
		}
		if !apperr.Is(err, apperr.Unavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-look.C:
		}
	}
}

// pods lists the agent's pods, but for those that are ending.
func (r *Replacer) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := r.Client.CoreV1().Pods(r.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, clusterError(err, "list the agent's pods")
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || agentIn(p.Spec) < 0 }), nil
}

// oneLine returns text on one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
