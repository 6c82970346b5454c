package docker_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// eventually waits until a condition holds.
func (s *site) eventually(what string, condition func() (ok bool, seen any)) {
	s.Helper()
	deadline := time.After(30 * time.Second)
	for {
		ok, seen := condition()
		if ok {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			s.Fatalf("waited in vain for %s; last seen: %v", what, seen)
		}
	}
}

// processes are the commands of a container's processes.
func (s *site) processes(name string) (commands []string) {
	s.Helper()
	top, err := s.engine.ContainerTop(s.Context(), spec.ContainerName(s.prefix, name), []string{"-eo", "pid,args"})
	if err != nil {
		s.Fatal(err)
	}
	for _, row := range top.Processes {
		commands = append(commands, strings.Join(row[1:], " "))
	}
	return commands
}

func TestExecWithStuckReadersLeavesNothingBehind(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web()))
	id := workload.ContainerID{Prefix: s.prefix, Name: "web"}
	stuck := func() {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.driver.Exec(ctx, id, workload.ExecOptions{Command: []string{"/program", "flood"}}, workload.ExecStreams{
			Input: make(chan []byte),
			Output: func(string, []byte) error {
				cancel()
				<-ctx.Done()
				return nil
			},
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Exec: %v", err)
		}
	}
	stuck()
	before := runtime.NumGoroutine()
	for range 10 {
		stuck()
	}
	s.eventually("the goroutines to end", func() (bool, any) {
		now := runtime.NumGoroutine()
		return now <= before+2, now
	})
	s.eventually("the commands to end", func() (bool, any) {
		left := s.processes("web")
		return len(left) == 1, left
	})
}

func TestExecHangsUpOnATerminal(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	input := make(chan []byte, 1)
	input <- []byte("ping\n")
	_, err := s.driver.Exec(ctx, workload.ContainerID{Prefix: s.prefix, Name: "web"},
		workload.ExecOptions{Command: []string{"/program", "echo"}, Terminal: true},
		workload.ExecStreams{Input: input, Output: func(_ string, data []byte) error {
			if strings.Contains(string(data), "ping") {
				cancel() // as when the browser is closed
			}
			return nil
		}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Exec: %v", err)
	}
	s.eventually("the command to end", func() (bool, any) {
		left := s.processes("web")
		return len(left) == 1, left
	})
}

func TestListSurvivesAnEngineThatIsAway(t *testing.T) {
	engine, err := docker.Connect("unix:///nonexistent/docker.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	if list, err := docker.New(engine, quick()).List(t.Context()); err == nil {
		t.Errorf("List = %v, want an error: an engine that is away has not lost its containers", list)
	}
}
