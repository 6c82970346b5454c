package system_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"fairlead.dev/e2e/registry"
	"fairlead.dev/e2e/sample/sampleimage"
	"fairlead.dev/shared/ociimage"
)

// programVersion is what the programs under test are built as: their images
// are then nobody else's on this machine.
const programVersion = "0.0.0-e2e"

// rig is what all tests of one run share: the programs, and a registry with
// the sample application in it as sample:1.
var rig struct {
	bin      string
	registry string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("these tests install agents on this machine: run them as root (sudo -E)")
	}
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("these tests need a running Docker Engine, which scripts/ensure-docker.sh starts: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := build(ctx); err != nil {
		return 1, err
	}
	local, err := registry.Start(ctx, registry.Config{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, local.Stop()) }()
	rig.registry = local.Addr()
	defer removeImages()
	image, err := sampleimage.Build(ctx, "1")
	if err != nil {
		return 1, err
	}
	if _, err := ociimage.Push(ctx, rig.registry+"/sample:1", image, ociimage.Credentials{}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build makes the programs as everybody does.
func build(ctx context.Context) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	rig.bin = filepath.Join(root, "bin", "e2e")
	archive := filepath.Join(rig.bin, "artifacts", "dagent-linux-"+runtime.GOARCH+".tar")
	out, err := exec.CommandContext(ctx, "make", "-C", root, "build", archive, "BIN="+rig.bin, "VERSION="+programVersion).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// removeImages removes what nodes pulled and loaded.
func removeImages() {
	for _, reference := range []string{rig.registry + "/*", "fairlead/dagent:" + programVersion, "fairlead/edge:" + programVersion} {
		for _, id := range lines(try("docker", "images", "--quiet", "--no-trunc", reference)) {
			try("docker", "image", "rm", "--force", id)
		}
	}
}
