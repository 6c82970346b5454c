//go:build linux

package kube_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/kubetest"
)

// TestTheAgentMayChangeItsOwnDeploymentAlone: that is what replacing itself takes.
func TestTheAgentMayChangeItsOwnDeploymentAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	admin, err := kubetest.Running(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(asAgent(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crane", "another"} {
		none, labels := int32(0), map[string]string{"app": name}
		_, err := s.client.AppsV1().Deployments(agentNamespace).Create(t.Context(), &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.DeploymentSpec{
				Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: programImage}}},
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	deployments := client.AppsV1().Deployments
	change := []byte(`{"metadata":{"annotations":{"a":"b"}}}`)
	if _, err := deployments(agentNamespace).Patch(t.Context(), "crane", types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
		t.Errorf("change its own Deployment: %v", err)
	}
	for what, try := range map[string]func() error{
		"change another Deployment of its namespace": func() error {
			_, err := deployments(agentNamespace).Patch(t.Context(), "another", types.MergePatchType, change, metav1.PatchOptions{})
			return err
		},
		"change one of its name elsewhere": func() error {
			_, err := deployments("kube-system").Patch(t.Context(), "crane", types.ApplyPatchType,
				[]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"crane"},"spec":{"selector":{"matchLabels":{"a":"b"}},`+
					`"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}`), metav1.PatchOptions{FieldManager: "thief"})
			return err
		},
		"delete its own Deployment": func() error { return deployments(agentNamespace).Delete(t.Context(), "crane", metav1.DeleteOptions{}) },
		"start a pod in its namespace": func() error {
			_, err := client.CoreV1().Pods(agentNamespace).Create(t.Context(), &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "spy"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "spy", Image: programImage}}},
			}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := try(); !kerrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it forbidden", what, err)
		}
	}
}
