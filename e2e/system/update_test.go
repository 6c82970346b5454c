package system_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
	"fairlead.dev/shared/ociimage"
)

// nextVersion follows programVersion.
const nextVersion = "0.0.1-e2e"

// buildNext makes a controller of the next version, and the agent it serves.
func buildNext(t testing.TB) (controller, artifacts string) {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"controller", "dagent"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -X fairlead.dev/shared/buildinfo.version="+nextVersion,
			"-o", filepath.Join(dir, program), "./"+program+"/cmd/"+program)
		build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
	}
	binary, err := os.ReadFile(filepath.Join(dir, "dagent"))
	must(t, err)
	image, err := ociimage.Build(ociimage.Spec{
		Platform: "linux/" + runtime.GOARCH, Entrypoint: []string{"/dagent"}, Files: []ociimage.File{{Path: "/dagent", Content: binary, Mode: 0o755}},
	})
	must(t, err)
	var archive bytes.Buffer
	must(t, ociimage.WriteArchive(&archive, "fairlead/dagent:"+nextVersion, image))
	artifacts = filepath.Join(dir, "artifacts")
	must(t, os.Mkdir(artifacts, 0o700))
	must(t, os.WriteFile(filepath.Join(artifacts, "dagent-linux-"+runtime.GOARCH+".tar"), archive.Bytes(), 0o600))
	t.Cleanup(func() { try("docker", "image", "rm", "--force", "fairlead/dagent:"+nextVersion) })
	return filepath.Join(dir, "controller"), artifacts
}

// TestControllerDiesWhileAnAgentIsUpdated: killed at several moments between the
// command and the word of success, by a controller whose release key was
// replaced meanwhile. In the end there is one agent, it serves, and the API says
// which one that is and how the update went.
func TestControllerDiesWhileAnAgentIsUpdated(t *testing.T) {
	t.Parallel()
	database := newPostgreSQL(t)
	c := newController(t, "DATABASE_URL="+database.url())
	tm := c.newTeam(t)
	program, artifacts := buildNext(t)
	// A node for each moment, all of them on this machine.
	nodes := map[string]*node{}
	for _, moment := range []string{"at once", "the new agent is there", "the new agent takes over"} {
		nodes[moment] = tm.installedNode(t)
	}

	c.stop(t)
	rotate := append([]string{"release-key", "rotate"}, c.args[1:]...)
	command := exec.CommandContext(t.Context(), program, rotate...)
	command.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "from the next start on") {
		t.Fatalf("replace the release key: %v\n%s", err, out)
	}
	c.program = program
	for i, arg := range c.args {
		if arg == "--artifact-dir" {
			c.args[i+1] = artifacts
		}
	}
	c.start(t)
	for _, n := range nodes {
		n.awaitConnected(t)
	}
	for moment, n := range nodes {
		t.Run(moment, func(t *testing.T) {
			await(t, nodePatience, "the update to be taken", func() (bool, string, error) {
				err := n.Call(t.Context(), http.MethodPost, n.path("/update"), client.Object{}, nil)
				if status := client.StatusOf(err); status == http.StatusPreconditionFailed || status == http.StatusServiceUnavailable {
					return false, err.Error(), nil
				}
				return err == nil, "", err
			})
			await(t, nodePatience, moment, func() (bool, string, error) {
				seen, agents := n.update(t), n.agents()
				come := map[string]bool{
					"at once": true, "the new agent is there": strings.Contains(agents, "-next"), "the new agent takes over": seen.Phase == "taking-over",
				}[moment]
				return come || seen.final(), fmt.Sprintf("%+v; %s", seen, agents), nil
			})
			c.kill()
			c.start(t)
			var last nodeUpdate
			await(t, 3*time.Minute, "one agent that serves, and its update to be over", func() (bool, string, error) {
				var agents string
				last, agents = n.update(t), n.agents()
				one := strings.HasSuffix(agents, "=running") && !strings.Contains(agents, ",") && !strings.Contains(agents, "-next")
				return one && last.final() && last.Status == "connected" && !last.Updating, fmt.Sprintf("%+v; %s", last, agents), nil
			})
			want := programVersion
			if last.Phase == "successful" {
				want = nextVersion
			}
			image := lines(try("docker", "ps", "--format", "{{.Image}}", "--filter", "label=dev.fairlead.agent="+n.id))
			if last.Version != want || len(image) != 1 || image[0] != "fairlead/dagent:"+want || (last.Phase == "failed") != (last.Error != "") {
				t.Errorf("the API says %+v, the engine runs %v", last, image)
			}
			t.Logf("killed when %s: %s %s", moment, last.Phase, last.Error)
		})
	}
}

// agents are the node's agents on this machine, each as its name and state.
func (n *node) agents() string {
	return strings.Join(lines(try("docker", "ps", "--all", "--format", "{{.Names}}={{.State}}", "--filter", "label=dev.fairlead.agent="+n.id)), ", ")
}

func (n *node) path(rest string) string { return "/api/" + n.Slug + "/nodes/" + n.id + rest }

// nodeUpdate is what the API says of a node's agent and of its last update.
type nodeUpdate struct {
	Status, Version string
	Updating        bool
	Phase, Error    string
}

func (u nodeUpdate) final() bool { return u.Phase == "successful" || u.Phase == "failed" }

func (n *node) update(t testing.TB) nodeUpdate {
	t.Helper()
	var seen struct {
		Status, Version string
		Updating        bool
		Update          *struct{ Phase, Error string }
	}
	must(t, n.Call(t.Context(), http.MethodGet, n.path(""), nil, &seen))
	u := nodeUpdate{Status: seen.Status, Version: seen.Version, Updating: seen.Updating}
	if seen.Update != nil {
		u.Phase, u.Error = seen.Update.Phase, seen.Update.Error
	}
	return u
}
