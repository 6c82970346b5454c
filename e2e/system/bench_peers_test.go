package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/e2e/client"
)

// peers prints how long the other ways to start 50 containers take, beside ours.
func peers(b *testing.B, e *engine, image string, ours float64, rounds int) {
	const size = 50
	ways := []struct {
		name  string
		start func() time.Duration
	}{
		{"serial", func() time.Duration { return e.startAll(b, image, size, 1) }},
		{"compose", func() time.Duration { return e.compose(b, image, size) }},
		{"swarm", func() time.Duration { return e.swarm(b, image, size) }},
	}
	for _, way := range ways {
		if way.name == "compose" && composeProgram() == "" {
			b.Log("docker compose is not on this machine: scripts/ensure-compose.sh builds it")
			continue
		}
		var took []time.Duration
		for range rounds {
			took = append(took, way.start())
		}
		figure("deploy_50_by_"+way.name, median(took), "ms", ours)
	}
}

// engine is the machine's Docker Engine, by its API and the programs around it.
type engine struct{ http *http.Client }

func newEngine(b *testing.B) *engine {
	b.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	at, err := url.Parse(host)
	must(b, err)
	transport := &http.Transport{
		MaxIdleConnsPerHost: rawParallel,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", at.Path)
		},
	}
	b.Cleanup(transport.CloseIdleConnections)
	return &engine{&http.Client{Transport: transport}}
}

// startAll creates and starts containers, so many at a time, and returns how
// long it took until the last one had started.
func (e *engine) startAll(b *testing.B, image string, size, parallel int) time.Duration {
	b.Helper()
	settle(b)
	ids := make([]string, size)
	prefix := unique()
	defer removeAll(ids)
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range size {
		group.Go(func() error {
			body, err := json.Marshal(client.Object{
				"Image": image, "Labels": client.Object{"bench": prefix}, "Env": []string{"A=b"},
				"HostConfig": client.Object{"RestartPolicy": client.Object{"Name": "unless-stopped"}},
			})
			if err != nil {
				return err
			}
			var made struct{ ID string }
			if err := json.Unmarshal(post(b, e.http, fmt.Sprintf("/containers/create?name=%s-%d", prefix, i), body), &made); err != nil {
				return err
			}
			ids[i] = made.ID
			post(b, e.http, "/containers/"+made.ID+"/start", nil)
			return nil
		})
	}
	must(b, group.Wait())
	return lastStart(b, began, ids, size).Sub(began)
}

func removeAll(ids []string) { try("docker", append([]string{"rm", "--force"}, ids...)...) }

// composeProgram is the program of docker compose v2, "" when there is none.
func composeProgram() string {
	for _, name := range []string{filepath.Join(rig.bin, "..", "..", ".tools", "docker-compose"), "/usr/libexec/docker/cli-plugins/docker-compose"} {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return ""
}

// compose has docker compose start a project of so many services.
func (e *engine) compose(b *testing.B, image string, size int) time.Duration {
	b.Helper()
	settle(b)
	name := unique()
	file := filepath.Join(b.TempDir(), name+".yaml")
	text := "name: " + name + "\nservices:\n"
	for i := range size {
		text += fmt.Sprintf("  w%d: {image: %q, network_mode: bridge, restart: unless-stopped, environment: {A: b}}\n", i, image)
	}
	must(b, os.WriteFile(file, []byte(text), 0o600))
	began := time.Now()
	if out, err := exec.CommandContext(b.Context(), composeProgram(), "-f", file, "up", "-d").CombinedOutput(); err != nil {
		b.Fatalf("docker compose up: %v\n%s", err, out)
	}
	ids := lines(docker(b, "ps", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+name))
	defer removeAll(ids)
	return lastStart(b, began, ids, size).Sub(began)
}

// swarm has the engine, as a swarm of its own, start a service of so many
// replicas.
func (e *engine) swarm(b *testing.B, image string, size int) time.Duration {
	b.Helper()
	if docker(b, "info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive" {
		docker(b, "swarm", "init", "--advertise-addr", "127.0.0.1")
		defer docker(b, "swarm", "leave", "--force")
	}
	settle(b)
	name := unique()
	began := time.Now()
	docker(b, "service", "create", "--quiet", "--detach", "--no-resolve-image", "--name", name, "--env", "A=b", "--replicas", strconv.Itoa(size), image)
	defer docker(b, "service", "rm", name)
	var ids []string
	await(b, 3*deployPatience, "the replicas to run", func() (bool, string, error) {
		ids = lines(docker(b, "ps", "--quiet", "--no-trunc", "--filter", "label=com.docker.swarm.service.name="+name))
		return len(ids) == size, fmt.Sprintf("%d run", len(ids)), nil
	})
	return lastStart(b, began, ids, size).Sub(began)
}
