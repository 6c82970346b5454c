package system_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// docker runs the docker command and returns what it prints.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// try is for clearing up, where what is not there needs no removal.
func try(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	return string(out)
}

func lines(text string) []string { return strings.Fields(text) }

// container is what the engine says of a container.
type container struct {
	ID    string
	Name  string
	Image string
	State struct {
		Status    string
		Running   bool
		ExitCode  int
		StartedAt time.Time
		Pid       int
	}
	RestartCount int
	Config       struct {
		Image      string
		User       string
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
		Labels     map[string]string
		Tty        bool
	}
	HostConfig struct {
		NetworkMode   string
		RestartPolicy struct{ Name string }
		LogConfig     struct {
			Type   string
			Config map[string]string
		}
		PortBindings map[string][]struct{ HostIP, HostPort string }
		Memory       int64
	}
	Mounts []struct {
		Type, Name, Destination string
		RW                      bool
	}
	NetworkSettings struct {
		Networks map[string]struct{ Aliases []string }
	}
}

// inspect looks at a container by name or id; ok is false when there is none.
func inspect(t testing.TB, name string) (c container, ok bool) {
	t.Helper()
	out, err := exec.Command("docker", "container", "inspect", name).Output()
	if err != nil {
		return c, false
	}
	var found []container
	if err := json.Unmarshal(out, &found); err != nil || len(found) != 1 {
		t.Fatalf("docker container inspect %s: %v: %d found", name, err, len(found))
	}
	return found[0], true
}

// running looks at a container that must run.
func running(t testing.TB, name string) container {
	t.Helper()
	c, ok := inspect(t, name)
	if !ok || !c.State.Running {
		t.Fatalf("the container %s does not run: there %t, %s", name, ok, c.State.Status)
	}
	return c
}

// mustBeUntouched fails when the container is another than before, or was
// started again.
func mustBeUntouched(t testing.TB, before container) {
	t.Helper()
	after := running(t, before.Name)
	if after.ID != before.ID || !after.State.StartedAt.Equal(before.State.StartedAt) {
		t.Errorf("the container %s was touched: %s started at %s, before %s at %s", before.Name,
			after.ID[:12], after.State.StartedAt, before.ID[:12], before.State.StartedAt)
	}
}

// under lists the names of all containers of a prefix.
func under(t testing.TB, prefix string) []string {
	t.Helper()
	return lines(docker(t, "ps", "--all", "--format", "{{.Names}}", "--filter", "label=dev.fairlead.prefix="+prefix))
}
