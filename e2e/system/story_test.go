package system_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestFromEnrolmentToDeletion follows one node and one deployment through
// everything that may happen to them.
func TestFromEnrolmentToDeletion(t *testing.T) {
	t.Parallel()
	c := newController(t)
	n := c.newTeam(t).installedNode(t)
	d := n.newSample(t, client.Object{"volumes": []client.Object{{"name": "data", "path": "/data"}}})

	step(t, "a deployment answers", func(t *testing.T) {
		d.deploy(t)
		d.mustGreet(t, "hello")
		must(t, d.app(t, http.MethodPost, "/control/write?path=note&content=remember", nil))
		n.awaitListed(t, d.prefix, "web running")
	})

	step(t, "a changed environment replaces the container", func(t *testing.T) {
		old := running(t, d.container())
		d.setEnvironment(t, "GREETING", "hello again")
		d.deploy(t)
		d.mustGreet(t, "hello again")
		d.mustKeep(t, "remember")
		if _, there := inspect(t, old.ID); there {
			t.Error("the old container is still there")
		}
		if all := under(t, d.prefix); !slices.Equal(all, []string{d.container()}) {
			t.Errorf("the prefix has the containers %q", all)
		}
	})
	before := running(t, d.container())

	step(t, "the controller dies and returns", func(t *testing.T) {
		c.kill()
		d.mustGreet(t, "hello again")
		c.start(t)
		n.Client = c.Client
		n.awaitConnected(t)
		mustBeUntouched(t, before)
		seen, err := n.Deployment(t.Context(), d.id)
		if err != nil || seen.Status != client.Successful || seen.LastTry != 2 {
			t.Errorf("the deployment is %+v (%v), want release 2 successful", seen, err)
		}
		list, err := n.Releases(t.Context(), d.id)
		if err != nil || len(list) != 2 {
			t.Errorf("%d releases are known (%v), want 2", len(list), err)
		}
	})

	step(t, "the agent dies and returns", func(t *testing.T) {
		docker(t, "kill", n.agentName())
		n.awaitStatus(t, "unreachable")
		mustBeUntouched(t, before)
		docker(t, "start", n.agentName())
		n.awaitConnected(t)
		mustBeUntouched(t, before)
		if seen := d.mustEnd(t, client.Successful); seen.LastTry != 2 {
			t.Errorf("the deployment is at release %d, want 2", seen.LastTry)
		}
	})

	step(t, "a revoked agent is refused", func(t *testing.T) {
		must(t, n.RevokeToken(t.Context(), n.id))
		n.awaitStatus(t, "unreachable")
		await(t, nodePatience, "the agent to learn that it is revoked", func() (bool, string, error) {
			_, err := os.Stat(filepath.Join(n.rootPath, "revoked"))
			return err == nil, "without the file revoked", nil
		})
		// However often it is started, it is no agent of this node any more.
		docker(t, "stop", n.agentName())
		said := func() int {
			return strings.Count(docker(t, "logs", n.agentName()), "this agent was revoked and does nothing")
		}
		times := said()
		docker(t, "start", n.agentName())
		await(t, nodePatience, "the restarted agent to say that it was revoked", func() (bool, string, error) {
			return said() > times, "silent", nil
		})
		if seen, err := n.Node(t.Context(), n.id); err != nil || seen.Status != "unreachable" || seen.HasToken {
			t.Errorf("the node is %+v (%v)", seen, err)
		}
		mustBeUntouched(t, before)
	})

	step(t, "installed again the node is back", func(t *testing.T) {
		n.install(t, "--enrol-again")
		mustBeUntouched(t, before)
		// It is a whole agent again: it carries out what it is told.
		must(t, n.Act(t.Context(), n.id, d.prefix, "web", "restart"))
	})

	step(t, "deleted the container goes and the volume stays", func(t *testing.T) {
		must(t, n.DeleteDeployment(t.Context(), d.id))
		await(t, deployPatience, "the container to go", func() (bool, string, error) {
			left := under(t, d.prefix)
			return len(left) == 0, strings.Join(left, " "), nil
		})
		if err := d.app(t, http.MethodGet, "/info", nil); err == nil {
			t.Error("something still answers on its port")
		}
		volumes := lines(docker(t, "volume", "ls", "--quiet", "--filter", "label=dev.fairlead.prefix="+d.prefix))
		if len(volumes) != 1 {
			t.Errorf("the volumes %q are left, want the one with the data", volumes)
		}
	})

	step(t, "uninstalled the machine is as it was", func(t *testing.T) {
		left := filepath.Join(n.rootPath, "install.sh") // by the script that installed it
		if out, err := shell(t, left, "--uninstall"); err != nil {
			t.Fatalf("uninstall: %v\n%s", err, out)
		}
		if name := n.agentName(); name != "" {
			t.Errorf("the container %s is left", name)
		}
		n.mustHaveNoState(t)
		n.awaitStatus(t, "unreachable")
	})
}

// step is a subtest that those after it stand on.
func step(t *testing.T, name string, do func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, do) {
		t.FailNow()
	}
}
