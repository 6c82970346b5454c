package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"fairlead.dev/shared/debugserver"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/taskgroup"

	"fairlead.dev/e2e/fleetsim/floor"
)

// Floor is the floor's process.
type Floor struct {
	*Process
	Agents string
	Pin    pki.Pin

	spec Spec
	pin  string
}

// NewFloor runs the floor: program must do ServeFloor with the arguments after
// "floor".
func NewFloor(ctx context.Context, program, dir string, heartbeat time.Duration) (*Floor, error) {
	agents, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	debug, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	pin := filepath.Join(dir, "floor.pin")
	f := &Floor{Agents: agents, pin: pin, spec: Spec{
		Program: program, Args: []string{"floor", agents, debug, pin, heartbeat.String()},
		Log: filepath.Join(dir, "floor.log"), Debug: debug,
	}}
	if err := f.Launch(); err != nil {
		return nil, err
	}
	return f, f.Ready(ctx)
}

// Launch runs the floor, again too: it keeps its root.
func (f *Floor) Launch() (err error) {
	f.Process, err = Run(f.spec)
	return err
}

// Ready waits until the floor serves.
func (f *Floor) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controllerPatience)
	defer cancel()
	return f.wait(ctx, "the floor to serve", func() error {
		content, err := os.ReadFile(f.pin)
		if err != nil {
			return err
		}
		if f.Pin, err = pki.ParsePin(string(bytes.TrimSpace(content))); err != nil {
			return err
		}
		_, err = f.Memory(ctx, false)
		return err
	})
}

// reviseSignal has the floor send everybody a set.
const reviseSignal = syscall.SIGUSR1

// Revise has the floor send every agent a set.
func (f *Floor) Revise() error {
	if err := f.Signal(reviseSignal); err != nil {
		return fmt.Errorf("ask the floor for a revision: %w", err)
	}
	return nil
}

// ServeFloor serves the floor until ctx ends. The arguments are the address for
// agents, that of the profiles, the file to write the pin to, and the period of
// heartbeats.
func ServeFloor(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("the floor needs two addresses, a file and a period")
	}
	heartbeat, err := time.ParseDuration(args[3])
	if err != nil {
		return fmt.Errorf("the period of heartbeats: %w", err)
	}
	authority, err := keptAuthority(args[2] + ".root")
	if err != nil {
		return err
	}
	server, err := floor.New(authority, heartbeat)
	if err != nil {
		return err
	}
	agents, err := (&net.ListenConfig{}).Listen(ctx, "tcp", args[0])
	if err != nil {
		return err
	}
	debug, err := debugserver.Listen(ctx, args[1])
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[2], []byte(server.Pin().String()), 0o600); err != nil {
		return fmt.Errorf("write the pin: %w", err)
	}
	return taskgroup.Run(ctx,
		taskgroup.Task{Name: "floor", Run: func(ctx context.Context) error { return server.Run(ctx, agents) }},
		taskgroup.Task{Name: "revisions", Run: func(ctx context.Context) error {
			wanted := make(chan os.Signal, 1)
			signal.Notify(wanted, reviseSignal)
			defer signal.Stop(wanted)
			for {
				select {
				case <-wanted:
					server.Revise()
				case <-ctx.Done():
					return nil
				}
			}
		}},
		taskgroup.Task{Name: "profiles", Run: func(ctx context.Context) error { return debugserver.Run(ctx, debug) }},
	)
}

// keptAuthority reads a root from a file, or makes one and keeps it there.
func keptAuthority(file string) (*pki.Authority, error) {
	certificate, err := os.ReadFile(file)
	if err == nil {
		key, err := os.ReadFile(file + ".key")
		if err != nil {
			return nil, fmt.Errorf("read the floor's root: %w", err)
		}
		return pki.LoadAuthority(certificate, key)
	}
	authority, err := pki.NewAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	certificate, key, err := authority.Encode()
	if err != nil {
		return nil, err
	}
	return authority, errors.Join(os.WriteFile(file+".key", key, 0o600), os.WriteFile(file, certificate, 0o600))
}
