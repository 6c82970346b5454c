package system_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
)

// TestEveryKeyReachesTheContainer deploys two images as a person would describe
// them in a compose file, and looks at what the engine was told.
func TestEveryKeyReachesTheContainer(t *testing.T) {
	t.Parallel()
	n := newController(t).newTeam(t).installedNode(t)
	ranges := freePort(t)
	d := n.newSample(t, client.Object{
		"environment":      []client.KeyValue{{Key: "PORT", Value: "8000"}, {Key: "LAYER", Value: "image"}},
		"volumes":          []client.Object{{"name": "data", "path": "/data"}, {"name": "scratch", "path": "/scratch", "type": "mem", "size": "1Mi"}},
		"restartPolicy":    "onFailure",
		"user":             65532,
		"workingDirectory": "/data",
		"dockerLabels":     []client.KeyValue{{Key: "org.example.role", Value: "front"}},
		"logConfig":        client.Object{"driver": "json-file", "options": []client.KeyValue{{Key: "max-size", Value: "1m"}}},
		"resourceConfig":   client.Object{"limits": client.Object{"memory": "64Mi"}},
	})
	network := d.prefix + "-net"
	must(t, d.project.ConfigureImage(t.Context(), d.image, client.Object{
		"ports":    []client.Object{{"internal": 8000, "external": d.port, "address": "127.0.0.1"}},
		"networks": []client.Object{{"key": network}},
		"portRanges": []client.Object{{
			"internal": client.Object{"from": 9000, "to": 9001}, "external": client.Object{"from": ranges, "to": ranges + 1},
		}},
		"initContainers": []client.Object{{
			"name": "prepare", "image": rig.registry + "/sample:1", "command": []client.Object{{"key": "/sample"}},
			"environment": []client.KeyValue{{Key: "SAMPLE_EXIT_CODE", Value: "0"}},
			"volumes":     []client.Object{{"name": "data", "path": "/data"}},
		}},
	}))
	// A task that ends is told by its entrypoint and arguments to do so.
	worker, err := d.project.AddImage(t.Context(), n.registry, "sample:1", client.Object{
		"name":          "worker",
		"commands":      []client.Object{{"key": "/sample"}},
		"args":          []client.Object{{"key": "healthcheck"}},
		"networkMode":   "none",
		"restartPolicy": "no",
		"expectedState": client.Object{"state": "exited", "exitCode": 1},
		"tty":           true,
	})
	must(t, err)
	must(t, d.project.Order(t.Context(), worker, d.image))
	d.setEnvironment(t, "LAYER", "deployment", "GREETING", "hello")
	d.deploy(t)

	web := running(t, d.container())
	t.Run("environment", func(t *testing.T) {
		for _, want := range []string{"PORT=8000", "LAYER=image", "GREETING=hello"} {
			if !slices.Contains(web.Config.Env, want) {
				t.Errorf("%s is not in %q", want, web.Config.Env)
			}
		}
		d.mustGreet(t, "hello") // through the port that PORT moved
	})
	t.Run("ports and ranges", func(t *testing.T) {
		for internal, external := range map[string]int{"8000/tcp": d.port, "9000/tcp": ranges, "9001/tcp": ranges + 1} {
			bound := web.HostConfig.PortBindings[internal]
			if len(bound) != 1 || bound[0].HostPort != fmt.Sprint(external) {
				t.Errorf("%s is bound to %+v, want %d", internal, bound, external)
			}
		}
	})
	t.Run("process", func(t *testing.T) {
		if web.Config.User != "65532" || web.Config.WorkingDir != "/data" || web.Config.Labels["org.example.role"] != "front" {
			t.Errorf("user %q, folder %q, labels %v", web.Config.User, web.Config.WorkingDir, web.Config.Labels)
		}
		task, _ := inspect(t, d.prefix+"-worker")
		if !slices.Equal(task.Config.Entrypoint, []string{"/sample"}) || !slices.Equal(task.Config.Cmd, []string{"healthcheck"}) || !task.Config.Tty {
			t.Errorf("the task runs %q %q, tty %t", task.Config.Entrypoint, task.Config.Cmd, task.Config.Tty)
		}
		if task.State.Running || task.State.ExitCode != 1 {
			t.Errorf("the task is %s with exit code %d, want it ended with 1", task.State.Status, task.State.ExitCode)
		}
	})
	t.Run("host", func(t *testing.T) {
		task, _ := inspect(t, d.prefix+"-worker")
		if web.HostConfig.RestartPolicy.Name != "on-failure" || task.HostConfig.RestartPolicy.Name != "no" {
			t.Errorf("restart policies %q and %q", web.HostConfig.RestartPolicy.Name, task.HostConfig.RestartPolicy.Name)
		}
		if task.HostConfig.NetworkMode != "none" {
			t.Errorf("network mode %q, want none", task.HostConfig.NetworkMode)
		}
		if _, joined := web.NetworkSettings.Networks[network]; !joined {
			t.Errorf("the networks are %+v, want %s", web.NetworkSettings.Networks, network)
		}
		if l := web.HostConfig.LogConfig; l.Type != "json-file" || l.Config["max-size"] != "1m" {
			t.Errorf("the log goes to %+v", l)
		}
		if web.HostConfig.Memory != 64<<20 {
			t.Errorf("memory is limited to %d bytes, want 64 MiB", web.HostConfig.Memory)
		}
	})
	t.Run("order", func(t *testing.T) {
		task, _ := inspect(t, d.prefix+"-worker")
		if !task.State.StartedAt.Before(web.State.StartedAt) {
			t.Errorf("the first image started at %s, the second at %s", task.State.StartedAt, web.State.StartedAt)
		}
	})
	t.Run("init container", func(t *testing.T) {
		entries, err := n.Log(t.Context(), d.id)
		must(t, err)
		if !slices.ContainsFunc(entries, func(e client.LogEntry) bool { return strings.Contains(strings.Join(e.Log, " "), "prepare") }) {
			t.Errorf("the log does not speak of the init container: %+v", entries)
		}
		// One that fails stops the release, and the old one serves on.
		failing := []client.Object{{
			"name": "prepare", "image": rig.registry + "/sample:1", "environment": []client.KeyValue{{Key: "SAMPLE_EXIT_CODE", Value: "3"}},
		}}
		must(t, d.project.ConfigureImage(t.Context(), d.image, client.Object{"initContainers": failing}))
		failure := d.mustFail(t, "init", "prepare")
		if failure.ExitCode == nil || *failure.ExitCode != 3 || !failure.RolledBack {
			t.Errorf("the failure is %+v, want exit code 3 and the old release back", failure)
		}
		if serving := running(t, d.container()); serving.ID != web.ID {
			t.Errorf("the container that serves is %s, before it was %s", serving.ID[:12], web.ID[:12])
		}
		d.mustGreet(t, "hello")
		must(t, d.project.ConfigureImage(t.Context(), d.image, client.Object{"initContainers": nil}))
	})
	t.Run("a volume outlives its containers", func(t *testing.T) {
		must(t, d.app(t, http.MethodPost, "/control/write?path=note&content=remember", nil))
		d.setEnvironment(t, "GREETING", "replaced")
		d.deploy(t)
		if running(t, d.container()).ID == web.ID {
			t.Fatal("the container was not replaced")
		}
		d.mustGreet(t, "replaced")
		d.mustKeep(t, "remember")
	})
	t.Run("an instance has the last word over its image", func(t *testing.T) {
		d.override(t, "web", client.Object{"environment": []client.KeyValue{{Key: "PORT", Value: "8000"}, {Key: "GREETING", Value: "overridden"}}})
		d.deploy(t)
		d.mustGreet(t, "overridden")
	})
}

// override configures the instance of an image by its container's name.
func (d *deployed) override(t testing.TB, name string, config client.Object) {
	t.Helper()
	instances, err := d.Instances(t.Context(), d.id)
	must(t, err)
	for _, i := range instances {
		if i.Image.Config.Name == name {
			must(t, d.ConfigureInstance(t.Context(), d.id, i.ID, config))
			return
		}
	}
	t.Fatalf("no instance is called %s: %+v", name, instances)
}
