package system_test

import (
	"slices"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestKilledInTheMiddle kills one side while a release is half-way: its new
// container is there and not yet healthy.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	c := newController(t)
	n := c.newTeam(t).installedNode(t)

	t.Run("the agent", func(t *testing.T) {
		d := n.halfWay(t)
		docker(t, "kill", n.agentName())
		docker(t, "start", n.agentName())
		d.mustArrive(t)
	})

	t.Run("the controller", func(t *testing.T) {
		d := n.halfWay(t)
		c.kill()
		c.start(t)
		n.Client = c.Client
		d.mustArrive(t)
	})

	t.Run("both", func(t *testing.T) {
		d := n.halfWay(t)
		docker(t, "kill", n.agentName())
		c.kill()
		docker(t, "start", n.agentName())
		c.start(t)
		n.Client = c.Client
		d.mustArrive(t)
	})
}

// halfWay returns a deployment whose second release is under way.
func (n *node) halfWay(t testing.TB) *deployed {
	t.Helper()
	d := n.newSample(t, client.Object{"volumes": []client.Object{{"name": "data", "path": "/data"}}})
	d.deploy(t)
	old := running(t, d.container())
	d.setEnvironment(t, "GREETING", "arrived", "SAMPLE_READY_AFTER", "1500ms")
	must(t, d.Start(t.Context(), d.id))
	await(t, deployPatience, "the new container to run", func() (bool, string, error) {
		all := lines(docker(t, "ps", "--no-trunc", "--format", "{{.ID}}", "--filter", "label=dev.fairlead.prefix="+d.prefix))
		return len(all) > 0 && !slices.Contains(all, old.ID), strings.Join(all, " "), nil
	})
	return d
}

// mustArrive waits for the release and looks for what a crash may have left.
func (d *deployed) mustArrive(t testing.TB) {
	t.Helper()
	d.awaitConnected(t)
	if seen := d.mustEnd(t, client.Successful); seen.LastTry != 2 {
		t.Errorf("the deployment is at release %d, want 2", seen.LastTry)
	}
	d.mustGreet(t, "arrived")
	if all := under(t, d.prefix); !slices.Equal(all, []string{d.container()}) {
		t.Errorf("the prefix has the containers %q", all)
	}
}
