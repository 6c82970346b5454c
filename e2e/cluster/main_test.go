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

// programVersion is what the programs under test are built as, nextVersion what
// those are that agents are updated to.
const (
	programVersion = "0.0.0-e2e"
	nextVersion    = "0.1.0-e2e"
)

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

// nextDir is where the programs of the next version are.
func nextDir() string { return filepath.Join(binDir(), "next") }

// archiveIn is the agent's archive in a folder of artifacts.
func archiveIn(artifacts string) string {
	return filepath.Join(artifacts, "crane-linux-"+runtime.GOARCH+".tar")
}

// build makes the programs as everybody does, of both versions.
func build() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	for bin, version := range map[string]string{binDir(): programVersion, nextDir(): nextVersion} {
		archive := archiveIn(filepath.Join(bin, "artifacts"))
		out, err := exec.CommandContext(ctx, "make", "-C", "../..", "build", archive, "BIN="+bin, "VERSION="+version).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build the programs: %w\n%s", err, out)
		}
	}
	return nil
}
