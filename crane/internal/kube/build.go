package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/spec"
)

// built are the objects of one workload, in the order they are applied.
type built struct {
	name string
	// main is the Deployment or the Job, rest what it needs.
	rest []runtime.Object
	main runtime.Object
}

// all are the objects, what is needed before what needs it.
func (b *built) all() []runtime.Object { return append(slices.Clone(b.rest), b.main) }

// build makes the objects of a workload. It is pure: the same spec makes the
// same objects, whatever is in the cluster.
func (d *Driver) build(dep spec.Deployment, w spec.Workload) (built, error) {
	b := built{name: w.Name()}
	c := w.Container
	pod := corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To(int64(d.options.StopGrace.Seconds())),
		// Pods get no way into the API server that nobody asked for.
		AutomountServiceAccountToken: ptr.To(false),
		EnableServiceLinks:           ptr.To(false),
	}
	main := corev1.Container{
		Name: b.name, Image: w.Image.Reference, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: words(c.Commands), Args: words(c.Args), TTY: c.TTY != nil && *c.TTY,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	if c.WorkingDirectory != nil {
		main.WorkingDir = *c.WorkingDirectory
	}
	var err error
	if main.Resources, err = resources(c.ResourceConfig); err != nil {
		return b, err
	}
	main.SecurityContext = security(c)
	main.EnvFrom = b.environment(dep, w)
	main.Ports = containerPorts(c)
	probes(c.HealthCheckConfig, &main)
	if err := b.volumes(dep, w, &pod, &main); err != nil {
		return b, err
	}
	b.secretFiles(dep, w, &pod, &main)
	ownVolumes(c, &pod)
	b.fillVolumes(dep, w, &pod, d.options.Image)
	b.initContainers(w, &pod, main)
	if err := b.pullSecret(dep, w, &pod); err != nil {
		return b, err
	}
	pod.Containers = []corev1.Container{main}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: podLabels(b.name), Annotations: map[string]string{}},
		Spec:       pod,
	}
	scraped(c, template.Annotations)
	if c.Labels != nil {
		addPairs(template.Labels, c.Labels.Deployment)
	}
	if c.Annotations != nil {
		addPairs(template.Annotations, c.Annotations.Deployment)
	}
	if ends(c) {
		b.main = d.job(dep, w, template)
		return b, nil
	}
	b.main = d.deployment(dep, w, template)
	b.service(dep, w)
	b.ingress(dep, w)
	return b, nil
}

func (d *Driver) deployment(dep spec.Deployment, w spec.Workload, template corev1.PodTemplateSpec) *appsv1.Deployment {
	described := meta(dep, w, w.Name())
	if names := secretVariables(w.Container); names != "" {
		described.Annotations[noteSecretVariables] = names
	}
	made := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: described,
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(ptr.Deref(w.Container.Replicas, spec.DefaultReplicas)),
			Selector: &metav1.LabelSelector{MatchLabels: podLabels(w.Name())},
			Template: template,
			// A pod counts as available once it has been ready for this long.
			MinReadySeconds:      int32(d.stableFor(w).Seconds()),
			RevisionHistoryLimit: ptr.To(int32(2)),
			Strategy:             strategy(w.Container),
		},
	}
	return made
}

// job makes a workload that is meant to end. Its name holds the hash of its
// content, since a Job cannot be changed.
func (d *Driver) job(dep spec.Deployment, w spec.Workload, template corev1.PodTemplateSpec) *batchv1.Job {
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	retries := int32(0)
	if p := w.Container.RestartPolicy; p != nil && *p == spec.RestartOnFailure {
		template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		retries = 6
	}
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta(dep, w, w.Name()+"-"+short(w.Hash)),
		Spec:       batchv1.JobSpec{BackoffLimit: &retries, Template: template},
	}
}

// strategy is how new pods take over: beside the old ones, unless a volume can be
// held by one only, or the configuration asks for the old ones to end first.
func strategy(c spec.Container) appsv1.DeploymentStrategy {
	if why := downtime(c); len(why) > 0 {
		return appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	none, one := intstrOf(0), intstrOf(1)
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &one},
	}
}

// downtime says why new pods do not run beside the old ones.
func downtime(c spec.Container) []string {
	var why []string
	if c.DeploymentStrategy != nil && *c.DeploymentStrategy == spec.StrategyRecreate {
		why = append(why, "deploymentStrategy is recreate: old pods end before new ones start")
	}
	for _, v := range c.Volumes {
		if v.Type == spec.VolumeReadWriteOnce {
			why = append(why, fmt.Sprintf("volume %s can be written by one only", v.Name))
		}
		if writtenBefore(c, v) {
			why = append(why, fmt.Sprintf("volume %s is filled before the start, by one only", v.Name))
		}
	}
	return why
}

// environment adds the config map and the secret that hold the variables. Their
// names hold a hash of their content: pods keep what they were started with,
// and the previous release finds its own again.
func (b *built) environment(dep spec.Deployment, w spec.Workload) []corev1.EnvFromSource {
	var from []corev1.EnvFromSource
	if plain := pairs(w.Container.Environment); len(plain) > 0 {
		name := b.name + "-env-" + contentHash(plain)
		b.rest = append(b.rest, &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta(dep, w, name),
			Data: plain, Immutable: ptr.To(true),
		})
		from = append(from, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}})
	}
	if secret, _ := secretsBy(w.Container); len(secret) > 0 {
		name := b.secret(dep, w, "secret", secret)
		from = append(from, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}})
	}
	return from
}

// pullSecret adds the credentials of the image's registry.
func (b *built) pullSecret(dep spec.Deployment, w spec.Workload, pod *corev1.PodSpec) error {
	auth := w.Image.Auth
	if auth == nil {
		return nil
	}
	text, err := json.Marshal(map[string]any{"auths": map[string]any{
		auth.Server: map[string]string{"username": auth.Username, "password": auth.Password},
	}})
	if err != nil {
		return fmt.Errorf("encode the credentials of registry %s: %w", auth.Server, err)
	}
	content := map[string]string{corev1.DockerConfigJsonKey: string(text)}
	// Not of the content: other credentials for the same image change no pod.
	name := b.name + "-pull-" + contentHash(map[string]string{"server": auth.Server})
	b.rest = append(b.rest, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta(dep, w, name),
		Data: bytesOf(content), Type: corev1.SecretTypeDockerConfigJson,
	})
	pod.ImagePullSecrets = []corev1.LocalObjectReference{{Name: name}}
	return nil
}

// contentHash is a short name for content.
func contentHash(content map[string]string) string {
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(content)) {
		fmt.Fprintf(h, "%q=%q\n", key, content[key])
	}
	return short(hex.EncodeToString(h.Sum(nil)))
}

// short is enough of a hash to tell a few versions of one thing apart.
func short(hash string) string { return hash[:min(10, len(hash))] }
