package docker_test

import (
	"os"
	"testing"

	"fairlead.dev/shared/spec"
)

func TestListTellsOfRestartsByTheEngine(t *testing.T) {
	s := newSite(t, quick())
	always := spec.RestartPolicy("always")
	s.apply(s.release(1, web(func(c *spec.Container) { c.RestartPolicy = &always })))
	before := s.containers()["web"]
	process, err := os.FindProcess(s.inspect("web").State.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.eventually("the restart", func() (bool, any) {
		now := s.containers()["web"]
		return now.RestartCount == 1 && now.State == spec.StateRunning, now
	})
	now := s.containers()["web"]
	if now.EngineID != before.EngineID || !now.StartedAt.After(before.StartedAt) ||
		now.FinishedAt.Before(before.StartedAt) || now.FinishedAt.After(now.StartedAt) || now.ExitCode != 0 {
		t.Errorf("container is %+v, it was %+v", now, before)
	}
}
