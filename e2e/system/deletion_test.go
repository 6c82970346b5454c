package system_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestDeletedNodesAgentGoes deletes nodes whose containers run on, left over
// from a deployment that was deleted without them.
func TestDeletedNodesAgentGoes(t *testing.T) {
	t.Parallel()
	c := newController(t)
	tm := c.newTeam(t)
	for name, k := range map[string]struct {
		online     bool
		containers string
	}{
		"connected, containers stay": {true, "keep"},
		"connected, containers go":   {true, "remove"},
		"away, containers stay":      {false, "keep"},
		"away, containers go":        {false, "remove"},
	} {
		t.Run(name, func(t *testing.T) {
			n := tm.installedNode(t)
			d := n.newSample(t, client.Object{"volumes": []client.Object{{"name": "data", "path": "/data"}}})
			d.deploy(t)
			must(t, d.app(t, http.MethodPost, "/control/write?path=note&content=remember", nil))
			before := running(t, d.container())
			if err := n.DeleteNode(t.Context(), n.id, k.containers); err == nil || !strings.Contains(err.Error(), "delete them first") {
				t.Fatalf("a node with deployments: %v", err)
			}
			must(t, n.Call(t.Context(), http.MethodDelete, "/api/"+n.Slug+"/deployments/"+d.id+"?containers=keep", nil, nil))
			agent := n.agentName()
			if !k.online {
				docker(t, "stop", agent)
			}
			must(t, n.DeleteNode(t.Context(), n.id, k.containers))
			if !k.online {
				mustBeUntouched(t, before)
				docker(t, "start", agent)
			}
			await(t, nodePatience, "the agent to take itself away", func() (bool, string, error) {
				left := n.agentName()
				return left == "", left, nil
			})
			if k.containers == "keep" {
				mustBeUntouched(t, before)
				d.mustKeep(t, "remember")
			} else if left := under(t, d.prefix); len(left) > 0 {
				t.Errorf("the containers %q are left", left)
			}
			if networks := lines(docker(t, "network", "ls", "--quiet", "--filter", "label=dev.fairlead.prefix="+d.prefix)); k.containers == "remove" && len(networks) > 0 {
				t.Errorf("the networks %q are left", networks)
			}
			if volumes := lines(docker(t, "volume", "ls", "--quiet", "--filter", "label=dev.fairlead.prefix="+d.prefix)); len(volumes) != 1 {
				t.Errorf("the volumes %q are left, want the one with the data", volumes)
			}
			if said, err := os.ReadFile(filepath.Join(n.rootPath, "deleted")); err != nil {
				t.Errorf("it left no word: %s %v", said, err)
			}
			// The machine is free for another node, in the same folder.
			another, err := tm.CreateNode(t.Context(), unique())
			must(t, err)
			n.id = another
			n.install(t)
			if out, err := shell(t, filepath.Join(n.rootPath, "install.sh"), "--uninstall"); err != nil {
				t.Fatalf("uninstall: %v\n%s", err, out)
			}
			n.mustHaveNoState(t)
		})
	}
}
