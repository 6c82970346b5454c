package rig

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Build makes the controller and the agents' archive in bin/e2e of the source
// tree, as everybody does, and returns where they are.
func Build(ctx context.Context, root string) (controller, artifacts string, err error) {
	root, err = filepath.Abs(root)
	if err != nil {
		return "", "", err
	}
	bin := filepath.Join(root, "bin", "e2e")
	archive := filepath.Join(bin, "artifacts", "dagent-linux-"+runtime.GOARCH+".tar")
	out, err := exec.CommandContext(ctx, "make", "-C", root, "build", archive, "BIN="+bin, "VERSION=0.0.0-e2e").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return filepath.Join(bin, "controller"), filepath.Join(bin, "artifacts"), nil
}
