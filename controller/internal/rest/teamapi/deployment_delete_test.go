package teamapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
)

// TestWhoDeletesADeploymentSaysWhatBecomesOfItsContainers goes to a node whose
// agent is real, but its engine.
func TestWhoDeletesADeploymentSaysWhatBecomesOfItsContainers(t *testing.T) {
	c := newChain(t)
	_, _, kept := c.firstVersion("rolling", "kept")
	_, _, removed := c.firstVersion("incremental", "removed")
	c.start(kept)
	c.start(removed)
	node := "/api/acme/nodes/" + c.rows["{nodeId}"]
	// seen is the containers of ours by prefix: whether they run, and are left over.
	type state struct {
		running, leftover bool
	}
	seen := func() map[string]state {
		var list []struct {
			ID       struct{ Prefix string }
			State    string
			Managed  bool
			Leftover bool
		}
		c.owner.Get(node+"/containers").Expect(t, http.StatusOK).Into(t, &list)
		found := map[string]state{}
		for _, one := range list {
			if one.Managed {
				found[one.ID.Prefix] = state{one.State == "running", one.Leftover}
			}
		}
		return found
	}
	must := func(what string, want map[string]state) {
		t.Helper()
		controllertest.Await(t, what, func() (bool, string) {
			got := seen()
			return maps.Equal(got, want), fmt.Sprint(got)
		})
	}
	must("both run", map[string]state{"kept": {running: true}, "removed": {running: true}})

	r := c.owner.Delete(kept + "?containers=burn")
	problem(t, r, http.StatusBadRequest)
	if r.String(t, "property") != "containers" {
		t.Errorf("a word that is none is answered %s", r.Body)
	}
	c.owner.Delete(kept+"?containers=keep").Expect(t, http.StatusNoContent)
	c.owner.Get(kept).Expect(t, http.StatusNotFound)
	c.owner.Delete(removed+"?containers=remove").Expect(t, http.StatusNoContent)
	must("one is left over and runs, the other is gone", map[string]state{"kept": {true, true}})

	c.owner.Delete(node+"/kept/containers").Expect(t, http.StatusNoContent)
	must("what was left over is deleted at the node", map[string]state{})
}
