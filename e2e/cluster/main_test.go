//go:build linux

// Package cluster_test proves the way of a whole cluster: controller, install
// script, agent in a pod, deployments, and all that may end in between.
package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"fairlead.dev/crane/kubetest"
)

// programVersion is what the programs under test are built as.
const programVersion = "0.0.0-e2e"

func TestMain(m *testing.M) {
	// In the cluster's namespaces there is no way out: what is fetched or built
	// has to be here before.
	if kubetest.Outside() {
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(kubetest.Main(m))
}

// binDir is where the programs under test are.
func binDir() string {
	dir, err := filepath.Abs("../../bin/e2e")
	if err != nil {
		return "../../bin/e2e"
	}
	return dir
}

// build makes the programs as everybody does.
func build() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	bin := binDir()
	archive := filepath.Join(bin, "artifacts", "crane-linux-"+runtime.GOARCH+".tar")
	out, err := exec.CommandContext(ctx, "make", "-C", "../..", "build", archive, "BIN="+bin, "VERSION="+programVersion).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}
