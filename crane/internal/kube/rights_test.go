//go:build linux

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/kubetest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// agentNamespace is where the install script's golden manifest puts the agent.
const agentNamespace = "fairlead-2f1c9d6e"

// account is the agent's in the tests' cluster, made once.
var account = sync.OnceValues(func() (token string, err error) {
	cluster := &kubetest.Cluster{Dir: os.Getenv("FAIRLEAD_KUBETEST_CLUSTER")}
	admin, err := cluster.Config()
	if err != nil {
		return "", err
	}
	ctx := context.Background()
	if token, err = install(ctx, cluster, admin, "crane-cluster.yaml", agentNamespace); err != nil {
		return "", err
	}
	client, err := kubernetes.NewForConfig(withToken(admin, token))
	if err != nil {
		return "", err
	}
	// The policy is in force some moments after it was made.
	trial := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		_, last = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "trial"}}, trial)
		return kerrors.IsForbidden(last) && strings.Contains(last.Error(), "fairlead.dev/deploy=allowed"), nil
	})
	if err != nil {
		return "", fmt.Errorf("wait for the policy: %w: %w", err, last)
	}
	return token, nil
})

// asAgent is how the agent reaches the cluster: with the rights that the install
// script gives it, and no others.
func asAgent(t *testing.T, admin *rest.Config) *rest.Config {
	t.Helper()
	token, err := account()
	if err != nil {
		t.Fatalf("give the agent its account: %v", err)
	}
	return withToken(admin, token)
}

func withToken(admin *rest.Config, token string) *rest.Config {
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = token
	config.QPS, config.Burst = 200, 400
	return config
}

// install applies what the install script gives the agent, but for the agent
// itself, under another name, and returns a token of its account.
func install(ctx context.Context, cluster *kubetest.Cluster, admin *rest.Config, golden, name string) (token string, err error) {
	manifest, err := os.ReadFile(filepath.Join("..", "..", "..", "install-scripts", "testdata", "golden", golden))
	if err != nil {
		return "", err
	}
	rights, _, found := strings.Cut(string(manifest), "---\napiVersion: apps/v1\nkind: Deployment\n")
	if !found {
		return "", errors.New("the manifest has no Deployment at its end")
	}
	kubectl := exec.CommandContext(ctx, cluster.Program(), "kubectl", "--kubeconfig", cluster.Kubeconfig(), "apply", "--server-side", "--filename", "-")
	kubectl.Stdin = strings.NewReader(strings.ReplaceAll(rights, agentNamespace, name))
	if out, err := kubectl.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return "", err
	}
	request, err := client.CoreV1().ServiceAccounts(name).CreateToken(ctx, "crane", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

// thief makes a client with the agent's token, and a namespace with a secret and
// a pod of others.
func thief(t *testing.T, s site, namespace string) *kubernetes.Clientset {
	t.Helper()
	cluster := kubetest.Running(t)
	admin, err := cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := s.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, StringData: map[string]string{"password": "hush"}}
	if _, err := s.client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(asAgent(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAStolenTokenReadsNoSecretElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const namespace = "bystander"
	client := thief(t, s, namespace)
	ctx := t.Context()
	secrets := client.CoreV1().Secrets(namespace)
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "main", Image: programImage,
				EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "theirs"}}}},
			}}},
		}
	}
	apply := metav1.PatchOptions{FieldManager: "thief"}
	for what, try := range map[string]func() error{
		"get a secret": func() error { _, err := secrets.Get(ctx, "theirs", metav1.GetOptions{}); return err },
		"list secrets": func() error { _, err := secrets.List(ctx, metav1.ListOptions{}); return err },
		"list all secrets": func() error {
			_, err := client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
			return err
		},
		"watch secrets": func() error { _, err := secrets.Watch(ctx, metav1.ListOptions{}); return err },
		"patch a secret, which answers with all of it": func() error {
			_, err := secrets.Patch(ctx, "theirs", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
			return err
		},
		"patch it for trial": func() error {
			_, err := secrets.Patch(ctx, "theirs", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		},
		"delete a secret": func() error { return secrets.Delete(ctx, "theirs", metav1.DeleteOptions{}) },
		"start a pod with the secret": func() error {
			_, err := client.CoreV1().Pods(namespace).Create(ctx, pod("spy"), metav1.CreateOptions{})
			return err
		},
		"start a deployment": func() error {
			_, err := client.AppsV1().Deployments(namespace).Patch(ctx, "spy", types.ApplyPatchType,
				[]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"spy"},"spec":{"selector":{"matchLabels":{"a":"b"}},`+
					`"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}`), apply)
			return err
		},
		"make the namespace its own": func() error {
			_, err := client.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType,
				[]byte(`{"metadata":{"labels":{"fairlead.dev/deploy":"allowed"}}}`), metav1.PatchOptions{})
			return err
		},
		"delete the namespace": func() error { return client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}) },
		"make a namespace that is not its own": func() error {
			_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "thiefs-own"}}, metav1.CreateOptions{})
			return err
		},
		"enter a pod": func() error {
			return client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name("theirs").SubResource("exec").
				Param("command", "env").Param("stdout", "true").Do(ctx).Error()
		},
		"a token of another account": func() error {
			_, err := client.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		},
		"the agent's own rights, made larger": func() error {
			_, err := client.RbacV1().ClusterRoles().Patch(ctx, agentNamespace, types.JSONPatchType,
				[]byte(`[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}}]`), metav1.PatchOptions{})
			return err
		},
	} {
		if err := try(); !kerrors.IsForbidden(err) && (what != "enter a pod" || !kerrors.IsInvalid(err)) {
			t.Errorf("%s: %v, want it forbidden", what, err)
		}
	}
	if _, err := s.client.CoreV1().Secrets(namespace).Get(ctx, "theirs", metav1.GetOptions{}); err != nil {
		t.Errorf("the secret of others: %v", err)
	}
}

func TestTheAgentServesNamedNamespacesOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cluster := kubetest.Running(t)
	admin, err := cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, name := range []string{"shop", "blog"} {
		if _, err := s.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	token, err := install(ctx, cluster, admin, "crane-limited.yaml", "fairlead-limited")
	if err != nil {
		t.Fatal(err)
	}
	config := withToken(admin, token)
	driver, err := kube.New(config, kube.Options{Namespaces: []string{"shop", "blog"}, StabilityWindow: time.Second, StopGrace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := release("elsewhere", 1, func(*spec.Container) {})
	if err := driver.Check(elsewhere); !apperr.Is(err, apperr.Unsupported) || !strings.Contains(err.Error(), "shop, blog") {
		t.Errorf("Check of another prefix: %v, want it refused with those it serves", err)
	}
	if _, err := driver.Info(ctx); err != nil {
		t.Errorf("Info: %v", err)
	}
	if err := driver.Apply(ctx, release("shop", 1, func(c *spec.Container) {
		c.Secrets = []spec.Secret{{Key: "PASSWORD", Value: "hush"}}
	}), silence()); err != nil {
		t.Fatal(err)
	}
	web := workload.ContainerID{Prefix: "shop", Name: "web"}
	list, err := driver.List(ctx)
	if err != nil || len(list) != 1 || list[0].ID != web || list[0].State != spec.StateRunning {
		t.Errorf("List: %+v, %v", list, err)
	}
	if err := driver.Logs(ctx, web, workload.LogOptions{Tail: 1}, func(workload.LogLine) error { return nil }); err != nil {
		t.Errorf("Logs: %v", err)
	}
	if err := driver.Restart(ctx, web); err != nil {
		t.Errorf("Restart: %v", err)
	}
	if err := driver.Remove(ctx, "shop", silence()); err != nil {
		t.Errorf("Remove: %v", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{}); !kerrors.IsForbidden(err) {
		t.Errorf("list pods elsewhere: %v, want it forbidden", err)
	}
	if _, err := client.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); !kerrors.IsForbidden(err) {
		t.Errorf("make a secret elsewhere: %v, want it forbidden", err)
	}
}
