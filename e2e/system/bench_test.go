package system_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
)

// figure prints one line of what make bench shows: name, value, unit, the floor
// or peer measured in the same run, and their ratio.
func figure(name string, value float64, unit string, floor float64) {
	ratio, peer := "-", "-"
	if floor > 0 {
		ratio, peer = fmt.Sprintf("%.2f", value/floor), fmt.Sprintf("%.1f", floor)
	}
	// Not on the line that the testing package has begun.
	fmt.Fprintf(os.Stdout, "\nfigure: %s\t%.1f\t%s\t%s\t%s\n", name, value, unit, peer, ratio)
}

// rounds is how often each time is taken; the median is shown.
const rounds = 5

// BenchmarkDeployment prints how long it takes from the call that starts a
// deployment until its container runs, beside the engine's own API doing the
// same create and start, and what idle programs hold in memory.
func BenchmarkDeployment(b *testing.B) {
	c := newController(b)
	n := c.newTeam(b).installedNode(b)
	warm := n.newSample(b, nil)
	warm.deploy(b) // pulls the image
	image := running(b, warm.container()).Config.Image

	var ours, until, raw []time.Duration
	for range b.N * rounds {
		d := n.newSample(b, client.Object{"ports": nil})
		began := time.Now()
		must(b, d.Start(b.Context(), d.id))
		d.mustEnd(b, client.Successful)
		ended := time.Since(began)
		up := running(b, d.container()).State.StartedAt
		ours, until = append(ours, up.Sub(began)), append(until, ended)
		raw = append(raw, rawStart(b, image))
	}
	floor := median(raw)
	figure("start_to_container_running", median(ours), "ms", floor)
	figure("start_to_release_successful", median(until), "ms", floor)
	figure("controller_idle_rss", rss(b, c.pid()), "MiB", 0)
	figure("dagent_idle_rss", rss(b, running(b, n.agentName()).State.Pid), "MiB", 0)
}

// rawStart creates and starts a container of the image through the engine's
// API and returns how long that took, to the same moment: its start.
func rawStart(t testing.TB, image string) time.Duration {
	t.Helper()
	engine := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", "/var/run/docker.sock")
		},
	}}
	defer engine.CloseIdleConnections()
	began := time.Now()
	var made struct{ ID string }
	body, err := json.Marshal(client.Object{"Image": image})
	must(t, err)
	must(t, json.Unmarshal(post(t, engine, "/containers/create", body), &made))
	defer try("docker", "rm", "--force", made.ID)
	post(t, engine, "/containers/"+made.ID+"/start", nil)
	return running(t, made.ID).State.StartedAt.Sub(began)
}

func post(t testing.TB, engine *http.Client, path string, body []byte) []byte {
	t.Helper()
	response, err := engine.Post("http://docker"+path, "application/json", bytes.NewReader(body))
	must(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode >= http.StatusBadRequest {
		t.Fatalf("POST %s: %s: %s", path, response.Status, answer)
	}
	return answer
}

func median(of []time.Duration) (milliseconds float64) {
	slices.Sort(of)
	return float64(of[len(of)/2].Microseconds()) / 1000
}

// rss is what a process holds in memory, in MiB.
func rss(t testing.TB, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			must(t, err)
			return kib / 1024
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}
