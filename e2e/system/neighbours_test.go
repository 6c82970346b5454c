package system_test

import (
	"slices"
	"strings"
	"testing"
)

// TestTwoControllersShareAnEngine has two controllers make a node of this one
// machine: each sees the other's containers and touches only its own.
func TestTwoControllersShareAnEngine(t *testing.T) {
	t.Parallel()
	ours, theirs := newController(t), newController(t)
	n := ours.newTeam(t).newNode(t)
	other := theirs.newTeam(t).newNode(t)

	t.Run("a token is good for its own controller only", func(t *testing.T) {
		script, foreign := n.newScript(t), other.newScript(t)
		n.mustNotEnrol(t, withToken(t, script, tokenOf(t, foreign)), "the enrolment token is not one of this controller's")
		// Nor did that use it up where it is good.
		if out, err := runScript(t, foreign); err != nil {
			t.Fatalf("install: %v\n%s", err, out)
		}
		other.awaitConnected(t)
	})

	n.install(t)
	mine, foreign := n.newSample(t, nil), other.newSample(t, nil)
	mine.deploy(t)
	foreign.deploy(t)
	before := running(t, foreign.container())

	t.Run("each lists the other's containers", func(t *testing.T) {
		await(t, nodePatience, "the API to list the neighbour's container", func() (bool, string, error) {
			list, err := n.Containers(t.Context(), n.id, "")
			var names []string
			for _, c := range list {
				names = append(names, c.ID.Prefix+"/"+c.ID.Name)
			}
			return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, foreign.prefix) }), strings.Join(names, " "), err
		})
	})

	t.Run("neither touches the other's", func(t *testing.T) {
		mine.setEnvironment(t, "GREETING", "mine")
		mine.deploy(t)
		docker(t, "restart", n.agentName())
		n.awaitConnected(t)
		must(t, n.DeleteDeployment(t.Context(), mine.id))
		await(t, deployPatience, "our container to go", func() (bool, string, error) {
			left := under(t, mine.prefix)
			return len(left) == 0, strings.Join(left, " "), nil
		})
		mustBeUntouched(t, before)
		foreign.mustGreet(t, "hello")
	})
}
