package system_test

import (
	"slices"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestUnhealthyReleaseGivesWay deploys a release that never gets healthy over
// one that is.
func TestUnhealthyReleaseGivesWay(t *testing.T) {
	t.Parallel()
	n := newController(t).newTeam(t).installedNode(t)

	t.Run("the old container was not even stopped", func(t *testing.T) {
		d := n.newSample(t, client.Object{"ports": []client.Object{{"internal": 8080}}})
		d.deploy(t)
		before := running(t, d.container())
		d.setEnvironment(t, "SAMPLE_UNHEALTHY", "true")
		d.mustExplain(t)
		mustBeUntouched(t, before)
	})

	t.Run("a host port lets one serve at a time, and the old one gets it back", func(t *testing.T) {
		d := n.newSample(t, nil)
		d.deploy(t)
		before := running(t, d.container())
		d.setEnvironment(t, "GREETING", "too soon", "SAMPLE_UNHEALTHY", "true")
		d.mustExplain(t)
		d.mustGreet(t, "hello")
		if after := running(t, d.container()); after.ID != before.ID {
			t.Errorf("the container that serves is %s, before it was %s", after.ID[:12], before.ID[:12])
		}
		// The next good release takes over, whatever the failed one left.
		d.setEnvironment(t, "GREETING", "recovered")
		d.deploy(t)
		d.mustGreet(t, "recovered")
	})

	t.Run("one that ends says with which exit code", func(t *testing.T) {
		d := n.newSample(t, client.Object{"restartPolicy": "no"})
		d.setEnvironment(t, "SAMPLE_EXIT_CODE", "7")
		failure := d.deployInVain(t)
		if failure.ExitCode == nil || *failure.ExitCode != 7 || failure.RolledBack {
			t.Errorf("the failure is %+v, want exit code 7 and nothing to go back to", failure)
		}
	})
}

// mustExplain starts a release that fails its health check and reads the
// failure card and the log.
func (d *deployed) mustExplain(t testing.TB) {
	t.Helper()
	failure := d.deployInVain(t)
	if failure.Step != "health" || !strings.Contains(failure.ProbeOutput, "unhealthy") || !failure.RolledBack ||
		!slices.ContainsFunc(failure.LogTail, func(line string) bool { return strings.Contains(line, "listening") }) {
		t.Errorf("the failure is %+v, want a health check, what it said, the application's last lines and a way back", failure)
	}
	// The failed container is kept for whoever wants to look, and does not run.
	kept := slices.DeleteFunc(under(t, d.prefix), func(name string) bool { return name == d.container() })
	if len(kept) != 1 {
		t.Fatalf("%q are kept, want the failed container", kept)
	}
	if failed, _ := inspect(t, kept[0]); failed.State.Running {
		t.Errorf("the failed container is %s", failed.State.Status)
	}
	entries, err := d.Log(t.Context(), d.id)
	must(t, err)
	if !slices.ContainsFunc(entries, func(e client.LogEntry) bool { return e.Level == "error" && len(e.Log) > 0 }) {
		t.Errorf("no error in the deployment's log: %+v", entries)
	}
}
