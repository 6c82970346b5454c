package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// endTimeout bounds the attempt to end a command that nobody listens to.
	endTimeout = 3 * time.Second
	// hangUpGrace is how long such a command has to end by itself.
	hangUpGrace = time.Second
)

// learn finds out which process of the host the command is. That must be asked
// while it runs: an engine that lost its connection to a command forgets it.
func (x *execution) learn(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		seen, err := x.driver.engine.ContainerExecInspect(ctx, x.id)
		if err != nil || seen.Pid > 0 || !seen.Running {
			x.pid = seen.Pid
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// end ends the command's process. The engine has no call for that, so it only
// works where the agent sees the host's processes.
func (x *execution) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if x.pid == 0 {
		x.learn(ctx)
	}
	if x.pid == 0 {
		return
	}
	if err := hangUp(ctx, x.pid, x.container); err != nil {
		x.driver.options.Logger.Info("a command that nobody listens to any more may run on", "container", x.name, "error", err)
	}
}

// hangUp tells a process of a container that its terminal is gone, and kills
// it when it does not care.
func hangUp(ctx context.Context, pid int, containerID string) error {
	process, err := os.FindProcess(pid) // holds the very process, whatever becomes of its number
	if err != nil {
		return fmt.Errorf("find process %d: %w", pid, err)
	}
	defer func() { _ = process.Release() }()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), containerID) {
		return errors.New("this agent does not see the processes of the host")
	}
	grace := time.NewTimer(hangUpGrace)
	defer grace.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for signal := syscall.SIGHUP; ; {
		if err := process.Signal(signal); err != nil {
			if errors.Is(err, os.ErrProcessDone) {
				return nil
			}
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		if signal == syscall.SIGKILL {
			return nil
		}
		signal = syscall.Signal(0)
		select {
		case <-tick.C:
		case <-grace.C:
			signal = syscall.SIGKILL
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
