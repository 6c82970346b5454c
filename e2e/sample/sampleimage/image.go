// Package sampleimage builds the sample application into a container image.
package sampleimage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/shared/ociimage"
)

// program is the import path of the sample application.
const program = "fairlead.dev/e2e/sample"

// Build compiles the sample for Linux on this machine's architecture, stamps
// version into it and returns an image of it that has the sample's own health
// check. It needs the Go command and must be called from a folder of a module
// that knows the sample.
func Build(ctx context.Context, version string) (v1.Image, error) {
	folder, err := os.MkdirTemp("", "fairlead-sample-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the sample: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary := filepath.Join(folder, "sample")
	compile := exec.CommandContext(ctx, "go", "build", "-trimpath",
		"-ldflags", "-s -w -X main.version="+version, "-o", binary, program)
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the sample: %w\n%s", err, out)
	}
	return ociimage.Build(Spec(binary, version))
}

// Spec describes the image around an already compiled binary.
func Spec(binary, version string) ociimage.Spec {
	return ociimage.Spec{
		Platform: "linux/" + runtime.GOARCH,
		Files: []ociimage.File{
			{Path: "/sample", Source: binary},
			{Path: "/data", Dir: true, UID: 65532, GID: 65532},
		},
		Entrypoint: []string{"/sample"},
		Ports:      []string{"8080"},
		User:       "65532:65532",
		Labels: map[string]string{
			"org.opencontainers.image.title":   "sample",
			"org.opencontainers.image.version": version,
		},
		Healthcheck: &ociimage.Healthcheck{
			Command:  []string{"/sample", "healthcheck"},
			Interval: time.Second,
			Timeout:  3 * time.Second,
			Retries:  3,
		},
	}
}
