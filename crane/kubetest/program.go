//go:build linux

package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// programs starts the parts of a cluster.
type programs struct {
	bin, dir string
	// ended is told of a program that ended, which none does by itself.
	ended func(error)
}

var errNotWanted = errors.New("it should run as long as the cluster")

// start runs one program, which ends with this process. What it says goes to
// logs/<name>.log.
func (p programs) start(name string, args ...string) error {
	logs := filepath.Join(p.dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return fmt.Errorf("make room for logs: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(logs, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the program has it

	command := exec.CommandContext(context.Background(), filepath.Join(p.bin, "kube"), append([]string{name}, args...)...)
	if name == "containerd" {
		command = exec.CommandContext(context.Background(), name, args...)
	}
	command.Stdout, command.Stderr = log, log
	// Not the terminal's signals: the tests end first, then everything does.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.note(name, running{Process: command.Process.Pid, Args: args}); err != nil {
		return errors.Join(err, command.Process.Kill())
	}
	// Before whatever else the machine does: a cluster that comes late with what it
	// sees says that a pod runs which has ended. Where that is not allowed it has to
	// do without.
	_ = syscall.Setpriority(syscall.PRIO_PGRP, command.Process.Pid, -10)
	go func() { p.ended(fmt.Errorf("%s has ended: %w", name, errors.Join(command.Wait(), errNotWanted))) }()
	return nil
}
