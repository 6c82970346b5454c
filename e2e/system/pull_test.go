package system_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallsTheAgentOutOfARegistry: what the controller brought to a registry is
// what its script pins, and a node whose engine pulled it is one like any other.
func TestInstallsTheAgentOutOfARegistry(t *testing.T) {
	t.Parallel()
	c := newController(t, "DATABASE_URL="+newPostgreSQL(t).url())
	repository := rig.registry + "/fairlead/dagent"
	n := c.newTeam(t).newNode(t)
	if out, err := runScript(t, n.newScript(t), "--image", repository+"/elsewhere"); err == nil || !strings.Contains(out, "controller artifacts push dagent "+repository+"/elsewhere brings it there") {
		t.Errorf("before it is there: %v\n%s", err, out)
	}
	n.mustHaveNoState(t)

	push := exec.CommandContext(t.Context(), c.program, "artifacts", "push", "dagent", repository, "--artifact-dir", filepath.Join(rig.bin, "artifacts"))
	if out, err := push.CombinedOutput(); err != nil {
		t.Fatalf("push the agent: %v\n%s", err, out)
	}
	out, err := runScript(t, n.newScript(t), "--image", repository)
	if err != nil || !strings.Contains(out, "the image is the one that this script pins") {
		t.Fatalf("install: %v\n%s", err, out)
	}
	n.awaitConnected(t)
	if seen, err := n.Node(t.Context(), n.id); err != nil || seen.Version != programVersion {
		t.Errorf("the node is %+v (%v)", seen, err)
	}
}
