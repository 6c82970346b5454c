//go:build linux

package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/shared/ociimage"
)

// startWithin is how long a cluster may take to be ready. It takes ten seconds
// on a quiet machine.
const startWithin = 3 * time.Minute

// Cluster is a cluster that runs.
type Cluster struct {
	// Dir holds everything of it.
	Dir string
}

// Kubeconfig is the path of a kubeconfig that may do everything.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.Dir, "pki", "admin.kubeconfig") }

// Config is how a client that may do everything reaches the API server.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	return config, nil
}

// Process is the number by which the machine outside knows the first process in
// the cluster's namespaces.
func (c *Cluster) Process() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, processFile))
	if err != nil {
		return 0, fmt.Errorf("find the cluster's first process: %w", err)
	}
	number, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, fmt.Errorf("find the cluster's first process: %w", err)
	}
	return number, nil
}

// Program is the path of the one binary of all the cluster's programs, which is
// also kubectl when it is called through a link of that name.
func (c *Cluster) Program() string {
	bin, err := binDir()
	if err != nil {
		return "kube" // start has found it
	}
	return filepath.Join(bin, "kube")
}

// EngineSocket is the path of containerd's socket.
func (c *Cluster) EngineSocket() string { return containerdSocket(c.Dir) }

// Import makes an image archive, as docker save or ociimage writes it, known
// to the node.
func (c *Cluster) Import(ctx context.Context, archive string) error {
	command := exec.CommandContext(ctx, "ctr", "--address", containerdSocket(c.Dir), "--namespace", "k8s.io",
		"images", "import", archive)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, out)
	}
	return nil
}

// Logs are the last lines of what each part of the cluster said.
func (c *Cluster) Logs(lines int) string {
	files, err := filepath.Glob(filepath.Join(c.Dir, "logs", "*.log"))
	if err != nil {
		return ""
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		kept := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(kept) > lines {
			kept = kept[len(kept)-lines:]
		}
		fmt.Fprintf(&all, "--- %s\n%s\n", filepath.Base(file), strings.Join(kept, "\n"))
	}
	return all.String()
}

// start starts every part of a cluster below dir and waits until pods can run.
func start(ctx context.Context, dir string) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()

	bin, err := binDir()
	if err != nil {
		return nil, err
	}
	certificates, err := issueAll(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, err
	}
	cluster := &Cluster{Dir: dir}
	if err := cluster.bringUp(ctx, certificates, bin); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, cluster.Logs(20))
	}
	return cluster, nil
}

func (c *Cluster) bringUp(ctx context.Context, certificates *credentials, bin string) error {
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	parts := programs{bin: bin, dir: c.Dir, ended: ended}

	config, err := c.Config()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := parts.startAPI(certificates); err != nil {
		return err
	}
	if err := parts.startEngine(ctx); err != nil {
		return err
	}
	if err := await(ctx, "the API server to answer", func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	if err := errors.Join(parts.startControllers(certificates), parts.startNode(certificates)); err != nil {
		return err
	}
	return ready(ctx, client)
}

// ready gives the cluster a way to make volumes and waits for a node that takes
// pods.
func ready(ctx context.Context, client kubernetes.Interface) error {
	if err := await(ctx, "a class of volumes", func(ctx context.Context) error {
		class := &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{
				Name: "standard", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
			},
			Provisioner: "kubernetes.io/host-path",
		}
		_, err := client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{})
		return err //nolint:wrapcheck // await says what was tried
	}); err != nil {
		return err
	}
	if err := await(ctx, "the node to take pods", func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err //nolint:wrapcheck // await says what was tried
		}
		return takesPods(node)
	}); err != nil {
		return err
	}
	return await(ctx, "the default service account", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err //nolint:wrapcheck // await says what was tried
	})
}

// await calls done until it succeeds.
func await(ctx context.Context, what string, done func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = done(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, errors.Join(context.Cause(ctx), last))
	}
	return nil
}

func takesPods(node *corev1.Node) error {
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has the taint %s", node.Spec.Taints[0].Key)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("the node is not ready: %s", condition.Message)
		}
	}
	return nil
}

// importPause makes the image that holds pods' namespaces, once containerd
// answers.
func (c *Cluster) importPause(ctx context.Context, bin string) error {
	image, err := ociimage.Build(ociimage.Spec{
		Platform: "linux/" + runtime.GOARCH, Files: []ociimage.File{{Path: "/pause", Source: filepath.Join(bin, "pause"), Mode: 0o755}}, Entrypoint: []string{"/pause"},
	})
	if err != nil {
		return fmt.Errorf("make the pause image: %w", err)
	}
	path := filepath.Join(c.Dir, "pause.tar")
	archive, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make the pause image: %w", err)
	}
	if err := errors.Join(ociimage.WriteArchive(archive, pauseImage, image), archive.Close()); err != nil {
		return fmt.Errorf("make the pause image: %w", err)
	}
	return await(ctx, "containerd to take an image", func(ctx context.Context) error {
		// The client waits long for a socket that is not there.
		if _, err := os.Stat(containerdSocket(c.Dir)); err != nil {
			return fmt.Errorf("look for containerd: %w", err)
		}
		return c.Import(ctx, path)
	})
}
