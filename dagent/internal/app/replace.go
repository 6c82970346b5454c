package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/hostservice"
	"fairlead.dev/dagent/internal/hostupdate"
	"fairlead.dev/dagent/internal/selfupdate"
	"fairlead.dev/shared/agentrt"
)

// replacement is how this process is replaced by another build.
type replacement struct {
	// replacer is nil for a program that neither a container nor the host's
	// service manager runs.
	replacer agentrt.Replacer
	// depart has nothing start this process again.
	depart func(ctx context.Context) error
	// updateID names the update that this process is the build of; "" when it is
	// of none.
	updateID string
}

// replaced finds out what runs this process. Leave ends it.
func (c Config) replaced(engine *client.Client, leave context.CancelFunc) replacement {
	if self := selfupdate.Container(); self != "" {
		container := selfupdate.New(engine, self)
		return replacement{replacer: container, depart: container.Leave, updateID: c.UpdateID}
	}
	program, err := os.Executable()
	if err != nil {
		return replacement{depart: hostservice.Leave, updateID: c.UpdateID}
	}
	folder, err := filepath.EvalSymlinks(c.StateDir)
	if err != nil {
		folder = c.StateDir
	}
	program = strings.TrimSuffix(program, " (deleted)")
	build := hostupdate.Build(folder, program)
	if build == "" {
		return replacement{depart: hostservice.Leave, updateID: c.UpdateID}
	}
	return replacement{
		replacer: hostupdate.New(hostupdate.Config{
			Program: program, Args: os.Args[1:], Environ: os.Environ(),
			EnvUpdateID: selfupdate.EnvUpdateID, Candidate: c.UpdateID != "", Leave: leave,
		}),
		depart:   hostservice.Leave,
		updateID: build,
	}
}
