//go:build linux

package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fairlead.dev/e2e/client"
)

// killInHooks kills the agent's process while hooks of a release wait, run and
// have ended; each of them has to have run once.
func (s *sample) killInHooks(t *testing.T) {
	const prefix = "hooked"
	project, err := s.team.CreateProject(t.Context(), prefix)
	must(t, err)
	working := client.Object{
		"command": []client.Object{{"key": "/sample"}}, "args": []client.Object{{"key": "work"}, {"key": "15s"}}, "timeoutSeconds": 120,
	}
	_, err = project.AddImage(t.Context(), s.registry, "sample:1", client.Object{
		"name": "web", "hooks": client.Object{"preDeploy": working, "postDeploy": working},
	})
	must(t, err)
	id, err := s.team.CreateDeployment(t.Context(), project.VersionID, s.node, prefix)
	must(t, err)
	must(t, s.team.Start(t.Context(), id))

	hooks := func(what, format string) (string, error) {
		return s.tryKubectl(t, "get", what, "--namespace", prefix, "--selector", "fairlead.dev/hook", "--output",
			"jsonpath={range .items[*]}{.metadata.labels.fairlead\\.dev/hook}"+format+"{\"\\n\"}{end}")
	}
	jobs := func() (string, error) {
		return hooks("jobs", " suspended={.spec.suspend} active={.status.active} succeeded={.status.succeeded}")
	}
	points := []string{
		"post-deploy suspended=true",                      // both Jobs are there
		"pre-deploy suspended=false active=1",             // the first runs
		"pre-deploy suspended=false active= succeeded=1",  // it has ended
		"post-deploy suspended=false active=1",            // the second runs
		"post-deploy suspended=false active= succeeded=1", // it has ended, and perhaps nobody knows
	}
	killed := 0
	for i, point := range points {
		agent, missed := 0, false
		await(t, deployPatience, "the hook "+point+" and an agent", func() (bool, string, error) {
			out, err := jobs()
			missed = slices.ContainsFunc(points[max(i+1, 2):], func(later string) bool { return strings.Contains(out, later) }) && !strings.Contains(out, point)
			agent = s.agentProcess(t)
			return missed || err == nil && agent != 0 && strings.Contains(out, point), fmt.Sprintf("%s %v, agent %d", out, err, agent), nil
		})
		if missed {
			continue // while the cluster brought the agent up again
		}
		if err := syscall.Kill(agent, syscall.SIGKILL); err != nil {
			t.Fatalf("kill the agent: %v", err)
		}
		killed++
		t.Logf("killed at %s", point)
	}
	if killed < 3 {
		t.Errorf("the agent was killed %d times, want 3 at least", killed)
	}
	seen, err := s.team.Outcome(t.Context(), id, deployPatience)
	if err != nil || seen.Status != client.Successful {
		t.Fatalf("the release is %s (%v)\n%s", seen.Status, err, s.agentState(t))
	}
	out, err := jobs()
	if want := "post-deploy suspended=false active= succeeded=1\npre-deploy suspended=false active= succeeded=1"; err != nil || out != want {
		t.Errorf("the hooks are\n%s\n(%v), want\n%s", out, err, want)
	}
	// A Job that had been made twice, or a pod of it, would be here.
	if out, err = hooks("pods", " {.status.phase} restarts={.status.containerStatuses[0].restartCount}"); err != nil ||
		!sameWords(out, "post-deploy Succeeded restarts=0 pre-deploy Succeeded restarts=0") {
		t.Errorf("the pods of the hooks are\n%s\n(%v), want one of each that succeeded", out, err)
	}
	must(t, s.team.DeleteDeployment(t.Context(), id))
	s.awaitConnected(t)
}
