package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"fairlead.dev/shared/workload"
)

const hidden = "(hidden)"

// inspection is what Inspect tells.
type inspection struct {
	Workload runtime.Object `json:"workload,omitempty"`
	Pods     []*corev1.Pod  `json:"pods"`
	// Environment names the variables that come from config maps and secrets.
	Environment map[string]string `json:"environment"`
}

// Inspect returns a workload's Deployment, its pods, and the names of its
// variables, with every value of a variable taken out.
func (d *Driver) Inspect(ctx context.Context, id workload.ContainerID) ([]byte, error) {
	t, err := d.find(ctx, id)
	if err != nil {
		return nil, err
	}
	told := inspection{Environment: map[string]string{}}
	for _, pod := range t.pods() {
		pod = pod.DeepCopy()
		pod.ManagedFields = nil
		redact(&pod.Spec)
		told.Pods = append(told.Pods, pod)
	}
	if t.kind == "Deployment" {
		deployment := t.world.deployment(t.namespace, t.name).DeepCopy()
		deployment.ManagedFields = nil
		redact(&deployment.Spec.Template.Spec)
		told.Workload = deployment
		if t.seen.Managed {
			if err := d.variables(ctx, t.namespace, deployment.Spec.Template.Spec, told.Environment); err != nil {
				return nil, err
			}
			for name := range strings.SplitSeq(deployment.Annotations[noteSecretVariables], ",") {
				if name != "" {
					told.Environment[name] = hidden
				}
			}
		}
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", id.Name, err)
	}
	return text, nil
}

func redact(pod *corev1.PodSpec) {
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			for j := range list[i].Env {
				if list[i].Env[j].Value != "" {
					list[i].Env[j].Value = hidden
				}
			}
		}
	}
}

// variables notes the names of what a pod takes from config maps.
func (d *Driver) variables(ctx context.Context, namespace string, pod corev1.PodSpec, names map[string]string) error {
	for _, from := range pod.Containers[0].EnvFrom {
		if ref := from.ConfigMapRef; ref != nil {
			found, err := d.client.CoreV1().ConfigMaps(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
			if err != nil {
				return clusterError(err, "read the names of variables")
			}
			for name := range found.Data {
				names[name] = hidden
			}
		}
	}
	return nil
}
