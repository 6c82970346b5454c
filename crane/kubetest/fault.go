//go:build linux

package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// APIServer is the name of the program that everything in a cluster asks.
const APIServer = "kube-apiserver"

// running is what is written down of a program that was started.
type running struct {
	Process int      `json:"process"`
	Args    []string `json:"args"`
}

func (p programs) note(name string, r running) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("note that %s runs: %w", name, err)
	}
	return p.configure(map[string]string{filepath.Join("running", name): string(text)})
}

func (c *Cluster) running(name string) (r running, err error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, "running", name))
	if err != nil {
		return r, fmt.Errorf("find %s: %w", name, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("find %s: %w", name, err)
	}
	return r, nil
}

// Kill ends one of the cluster's programs as kill -9 does, and returns when it is
// gone. Start starts it again.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	r, err := c.running(name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(r.Process, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	return await(ctx, name+" to end", func(context.Context) error {
		if err := syscall.Kill(r.Process, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is still there", r.Process)
		}
		return nil
	})
}

// Freeze keeps one of the cluster's programs from running, as a machine that
// hangs does: it takes connections and answers nothing. Thaw lets it go on.
func (c *Cluster) Freeze(name string) error { return c.signal(name, syscall.SIGSTOP) }

// Thaw ends what Freeze began.
func (c *Cluster) Thaw(name string) error { return c.signal(name, syscall.SIGCONT) }

func (c *Cluster) signal(name string, signal syscall.Signal) error {
	r, err := c.running(name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(r.Process, signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, name, err)
	}
	return nil
}

// Start starts a program again that Kill ended. It does not wait until it answers.
func (c *Cluster) Start(name string) error {
	r, err := c.running(name)
	if err != nil {
		return err
	}
	bin, err := binDir()
	if err != nil {
		return err
	}
	return programs{bin: bin, dir: c.Dir, ended: func(error) {}}.start(name, r.Args...)
}
