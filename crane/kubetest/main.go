//go:build linux

package kubetest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// Main runs the tests of a package inside a cluster and returns the exit code.
// It is called first thing in TestMain: it runs the test program again, in
// namespaces of its own, and there starts the cluster. With -short there is no
// cluster, and tests that ask for one are skipped.
func Main(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		return m.Run()
	}
	return Run(func(*Cluster) int { return runMany(m) })
}

// atOnce is how many tests of a cluster run side by side, unless -parallel says
// otherwise: they mostly wait for pods, so more of them than there are processors.
const atOnce = "4"

func runMany(m *testing.M) int {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, "kubetest:", err)
			return 1
		}
	}
	return m.Run()
}

// Outside reports whether this process has the machine's network: what the tests
// build or fetch has to be there before Main goes on without. With -short too.
func Outside() bool { return os.Getenv(stageVariable) == "" }

// Run starts a cluster, calls inside, and takes the cluster away. Nothing
// should have been started in the process before: the program runs again, as
// another process, and only there inside is called.
func Run(inside func(*Cluster) int) int {
	switch os.Getenv(stageVariable) {
	case "":
		return report(outside())
	case stageInit:
		return report(reap())
	default:
		return report(within(inside))
	}
}

func report(code int, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		return 1
	}
	return code
}

// within starts the cluster and calls inside, in the namespaces.
func within(inside func(*Cluster) int) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	cluster, err := start(ctx, os.Getenv(dirVariable))
	if err != nil {
		return 1, err
	}
	if err := os.Setenv(clusterVariable, cluster.Dir); err != nil {
		return 1, fmt.Errorf("tell the tests of their cluster: %w", err)
	}
	return inside(cluster), nil
}

// Running returns the cluster that Main started for the tests of this process.
func Running(t testing.TB) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("not run: it needs a cluster, and -short does without; run it without -short, as root, after `make kube-build`")
	}
	dir := os.Getenv(clusterVariable)
	if dir == "" {
		t.Fatal("no cluster runs: TestMain of this package has to call kubetest.Main")
	}
	return &Cluster{Dir: dir}
}
