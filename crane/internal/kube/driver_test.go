//go:build linux

package kube_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/kubetest"
	"fairlead.dev/shared/ociimage"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload/workloadtest"
)

// programImage is the image of the program that the suite runs.
const (
	programImage = "fairlead.test/program:1"
	missingImage = kubetest.NodeIP + ":1/fairlead.test/no-such-image:1"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// site is a driver of the tests' cluster.
type site struct {
	*kube.Driver
	client kubernetes.Interface
}

func newSite(t *testing.T) site {
	t.Helper()
	cluster := kubetest.Running(t)
	importProgram(t, cluster)
	config, err := cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	driver, err := kube.New(asAgent(t, config), kube.Options{StabilityWindow: 5 * time.Second, StopGrace: time.Second, Image: agentImage})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return site{driver, client}
}

// importing is held while an image is built and imported.
var importing sync.Mutex

// importProgram imports the image that the suite runs.
func importProgram(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	importProgramOf(t, cluster, programImage, "/program", "fairlead.dev/dagent/internal/docker/testdata/program")
}

// importProgramOf builds an image of one program, once a cluster.
func importProgramOf(t *testing.T, cluster *kubetest.Cluster, name, path, source string) {
	t.Helper()
	importing.Lock()
	defer importing.Unlock()
	if _, err := os.Stat(archiveOf(cluster, name)); err == nil {
		return
	}
	binary := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", source, err, out)
	}
	importImage(t, cluster, name, ociimage.Spec{Files: []ociimage.File{{Path: path, Source: binary}}, Entrypoint: []string{path}})
}

func archiveOf(cluster *kubetest.Cluster, name string) string {
	return filepath.Join(cluster.Dir, strings.NewReplacer("/", "_", ":", "_").Replace(name)+".tar")
}

// importImage builds an image and gives it to the cluster.
func importImage(t *testing.T, cluster *kubetest.Cluster, name string, what ociimage.Spec) {
	t.Helper()
	what.Platform = "linux/" + runtime.GOARCH
	image, err := ociimage.Build(what)
	if err != nil {
		t.Fatal(err)
	}
	archive := archiveOf(cluster, name)
	file, err := os.Create(archive + ".part")
	if err != nil {
		t.Fatal(err)
	}
	if err := ociimage.WriteArchive(file, name, image); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Import(t.Context(), archive+".part"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(archive+".part", archive); err != nil {
		t.Fatal(err)
	}
}

func TestDriverKeepsTheContract(t *testing.T) {
	workloadtest.Run(t, func(t *testing.T) workloadtest.Subject {
		t.Helper()
		s := newSite(t)
		return workloadtest.Subject{
			Driver: s.Driver, Pods: true,
			Image: programImage, Program: "/program", MissingImage: missingImage,
			Unsupported: func(c *spec.Container) string {
				c.NetworkMode = new(spec.NetworkMode)
				*c.NetworkMode = spec.NetworkHost
				return "networkMode"
			},
			AddForeign: s.addForeign,
		}
	})
}

// addForeign makes a Deployment that no agent made: its namespace is the
// first word of the name.
func (s site) addForeign(t *testing.T, engineName string) {
	t.Helper()
	namespace, name, _ := strings.Cut(engineName, "-")
	_, err := s.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"fairlead.dev/deploy": "allowed"},
	}}, metav1.CreateOptions{})
	if err != nil && !kerrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	labels := map[string]string{"app": name}
	foreign := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: programImage}}},
			},
		},
	}
	deployments := s.client.AppsV1().Deployments(namespace)
	if _, err := deployments.Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := deployments.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		d, err := deployments.Get(ctx, name, metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == 1, err
	})
	if err != nil {
		t.Fatalf("the foreign deployment does not run: %v", err)
	}
}
