package system_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestCommandsOnContainers are acts on one container that is there.
func TestCommandsOnContainers(t *testing.T) {
	t.Parallel()
	n := newController(t).newTeam(t).installedNode(t)
	d := n.newSample(t, nil)
	d.deploy(t)
	before := running(t, d.container())

	t.Run("stop and start", func(t *testing.T) {
		must(t, n.Act(t.Context(), n.id, d.prefix, "web", "stop"))
		if c, _ := inspect(t, d.container()); c.State.Running {
			t.Error("the container runs after stop")
		}
		n.awaitListed(t, d.prefix, "web exited")
		must(t, n.Act(t.Context(), n.id, d.prefix, "web", "start"))
		if c := running(t, d.container()); c.ID != before.ID {
			t.Error("start made another container")
		}
		n.awaitListed(t, d.prefix, "web running")
	})

	t.Run("restart by the full name", func(t *testing.T) {
		first := running(t, d.container())
		must(t, n.Act(t.Context(), n.id, "", d.container(), "restart"))
		if c := running(t, d.container()); c.ID != first.ID || !c.State.StartedAt.After(first.State.StartedAt) {
			t.Error("restart did not start the same container again")
		}
	})

	t.Run("read the log", func(t *testing.T) {
		await(t, nodePatience, "the application to answer", func() (bool, string, error) {
			err := d.app(t, http.MethodPost, "/control/log?line=a+word+for+the+log&count=3", nil)
			return err == nil, "not answering", nil
		})
		log, err := n.ContainerLog(t.Context(), n.id, d.prefix, "web", 2)
		if err != nil || len(log) != 2 || !slices.ContainsFunc(log, func(line string) bool {
			return strings.Contains(line, "a word for the log") && strings.Contains(line, "number=3")
		}) {
			t.Errorf("the last two lines are %q (%v)", log, err)
		}
	})

	t.Run("follow the log", d.mustFollowTheLog)

	t.Run("a container of somebody else is refused", func(t *testing.T) {
		stranger := unique()
		docker(t, "run", "--detach", "--name", stranger, running(t, d.container()).Config.Image)
		t.Cleanup(func() { docker(t, "rm", "--force", stranger) })
		before := running(t, stranger)
		for _, act := range []string{"stop", "restart", "start"} {
			mustBeStatus(t, n.Act(t.Context(), n.id, "", stranger, act), http.StatusForbidden)
		}
		mustBeUntouched(t, before)
	})

	t.Run("a container that is not there", func(t *testing.T) {
		mustBeStatus(t, n.Act(t.Context(), n.id, d.prefix, "nobody", "stop"), http.StatusNotFound)
	})
}
