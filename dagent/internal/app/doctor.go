package app

import (
	"context"
	"fmt"
	"io"

	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/agentrt/doctor"
	"fairlead.dev/shared/buildinfo"
)

// Diagnose finds out what keeps the agent from working, prints it line by line,
// and reports whether all is well. It changes nothing.
func Diagnose(ctx context.Context, config Config, out io.Writer) (healthy bool, err error) {
	if _, err := fmt.Fprintln(out, buildinfo.Line("dagent")); err != nil {
		return false, err
	}
	return doctor.Print(ctx, doctor.Config{
		StateDir: config.StateDir,
		Engine:   func(ctx context.Context) (string, error) { return engineLine(ctx, config.DockerHost) },
		EngineFix: "Start the Docker Engine, or name its address in DOCKER_HOST; in a container the agent needs the socket mounted, " +
			"and outside of one a user who may use it",
		Again: "make a new install script for the node and run it here",
	}, out)
}

// engineLine is what there is to know about the engine.
func engineLine(ctx context.Context, host string) (string, error) {
	engine, err := docker.Connect(host)
	if err != nil {
		return "", err
	}
	defer func() { _ = engine.Close() }()
	info, err := engine.Info(ctx)
	if client.IsErrConnectionFailed(err) {
		return "", fmt.Errorf("the Docker Engine at %s does not answer: %w", engine.DaemonHost(), err)
	}
	if err != nil {
		return "", fmt.Errorf("ask the Docker Engine at %s about itself: %w", engine.DaemonHost(), err)
	}
	return fmt.Sprintf("Docker %s (API %s) at %s, %s/%s, cgroup v%s, storage %s", info.ServerVersion, engine.ClientVersion(),
		engine.DaemonHost(), info.OSType, info.Architecture, info.CgroupVersion, info.Driver), nil
}
