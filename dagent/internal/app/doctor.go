package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"

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
		Engine:   func(ctx context.Context) (string, error) { return config.engineLine(ctx) },
		EngineFix: "Start the Docker Engine, or name its address in DOCKER_HOST; in a container the agent needs the socket mounted, " +
			"and outside of one a user who may use it",
		Again: "make a new install script for the node and run it here",
	}, out)
}

// engineLine is what there is to know about the engine.
func (c Config) engineLine(ctx context.Context) (string, error) {
	engine, err := docker.Connect(c.DockerHost)
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
	room := "unknown room for images"
	if free, folder, err := c.disk(engine, slog.New(slog.DiscardHandler)).Free(ctx); err == nil {
		room = fmt.Sprintf("%d MiB free for images at %s", free>>20, folder)
	}
	return fmt.Sprintf("Docker %s (API %s) at %s, %s/%s, cgroup v%s, storage %s, %s", info.ServerVersion, engine.ClientVersion(),
		engine.DaemonHost(), info.OSType, info.Architecture, info.CgroupVersion, info.Driver, room), nil
}
