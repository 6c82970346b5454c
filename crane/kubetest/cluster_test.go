//go:build linux

package kubetest_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/kubetest"
)

// beKilled makes the test program start a second cluster and wait for its end.
const beKilled = "FAIRLEAD_KUBETEST_BE_KILLED"

func TestMain(m *testing.M) {
	if os.Getenv(beKilled) != "" {
		os.Exit(kubetest.Run(beRunning))
	}
	os.Exit(kubetest.Main(m))
}

// beRunning says where the cluster is and waits to be killed.
func beRunning(cluster *kubetest.Cluster) int {
	if _, err := os.Stdout.WriteString("running " + cluster.Dir + "\n"); err != nil {
		return 1
	}
	select {}
}

func TestAPodRuns(t *testing.T) {
	cluster := kubetest.Running(t)
	config, err := cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pods := client.CoreV1().Pods("default")
	_, err = pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nothing"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nothing", Image: "fairlead.test/pause:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var last *corev1.Pod
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		last, err = pods.Get(ctx, "nothing", metav1.GetOptions{})
		return err == nil && last.Status.Phase == corev1.PodRunning, err
	})
	if err != nil {
		t.Fatalf("the pod does not run: %v\n%+v\n%s", err, last.Status, cluster.Logs(20))
	}

	// Through the API server to the kubelet, which has to know it.
	if _, err := pods.GetLogs("nothing", &corev1.PodLogOptions{}).DoRaw(t.Context()); err != nil {
		t.Errorf("the pod's log: %v", err)
	}

	kubectl := exec.CommandContext(t.Context(), cluster.Program(), "kubectl", "--kubeconfig", cluster.Kubeconfig(),
		"get", "pod", "nothing", "--output", "name")
	out, err := kubectl.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "pod/nothing" {
		t.Errorf("kubectl says %q (%v)", out, err)
	}
}

func TestAKilledClusterLeavesNoProcess(t *testing.T) {
	kubetest.Running(t) // or there is none to do without
	second := exec.Command("/proc/self/exe")
	second.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FAIRLEAD_KUBETEST_") })
	// In a folder of its own: numbers of processes mean something else there, so
	// that it would take this cluster for one that was killed.
	temporary, err := os.MkdirTemp("", "second-") //nolint:usetesting // a test's folder has too long a name for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temporary) })
	second.Env = append(second.Env, beKilled+"=1", "TMPDIR="+temporary)
	second.Stderr = os.Stderr
	out, err := second.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	dir, running := strings.CutPrefix(strings.TrimSpace(line), "running ")
	if err != nil || !running {
		t.Fatalf("the second cluster said %q (%v)", line, err)
	}
	if len(processesOf(t, dir)) < 5 {
		t.Fatalf("the second cluster has only the processes %q", processesOf(t, dir))
	}
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait() // it was killed
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return len(processesOf(t, dir)) == 0, nil
	})
	if err != nil {
		t.Errorf("still there after the kill: %q", processesOf(t, dir))
	}
}

// processesOf returns the command lines that name dir.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), dir) { // others end meanwhile
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}
