package system_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/sample/sampleimage"
	"fairlead.dev/shared/ociimage"
)

const (
	// settlePause lets the engine finish with what was removed before the next
	// time is taken.
	settlePause = 3 * time.Second
	// rawParallel is the parallelism at which an engine is quickest.
	rawParallel = 8
	// askPause is how often the outcome is asked for, which is work too.
	askPause = 250 * time.Millisecond
)

// BenchmarkDeployBesideEngine prints how long a deployment takes from the call
// that starts it until all its containers run, for 1, 10 and 50 of them, beside
// the engine's own API with its best parallelism, in pairs of which each is in
// the other order; and beside what else starts 50 containers. The containers are
// of one image without a health check, on the engine's own bridge, and the time
// of each is when the engine told that the last one had started.
//
// BENCH_PAIRS is the number of pairs, 8 unless it is set, and BENCH_PEER_ROUNDS
// how often each of the others is timed, 2 unless it is set.
func BenchmarkDeployBesideEngine(b *testing.B) {
	pushPlain(b)
	c := newController(b)
	n := timedNode{node: c.newTeam(b).installedNode(b), controllerPID: c.pid()}
	n.agentPID = running(b, n.agentName()).State.Pid
	e := newEngine(b)
	pairs, rounds := number(b, "BENCH_PAIRS", 8), number(b, "BENCH_PEER_ROUNDS", 2)
	n.newCrowd(b, 1).deployAndRemove(b) // pulls the image
	image := rig.registry + "/plain:1"
	for range b.N {
		var ours50 float64
		for _, size := range []int{1, 10, 50} {
			var ours, ended, raw, again, agent, control []time.Duration
			var ratios []float64
			for i := range pairs {
				floor := func() { raw = append(raw, e.startAll(b, image, size, rawParallel)) }
				deploy := func() {
					d := n.newCrowd(b, size).deployAndRemove(b)
					ours, ended, again = append(ours, d.up), append(ended, d.ended), append(again, d.unchanged)
					agent, control = append(agent, d.agent), append(control, d.controller)
				}
				if i%2 == 0 {
					floor()
					deploy()
				} else {
					deploy()
					floor()
				}
				ratios = append(ratios, float64(ours[i])/float64(raw[i]))
			}
			pairFigure(fmt.Sprintf("deploy_%d_to_all_running", size), ours, raw, ratios)
			figure(fmt.Sprintf("deploy_%d_to_successful", size), median(ended), "ms", median(raw))
			figure(fmt.Sprintf("redeploy_%d_unchanged", size), median(again), "ms", 0)
			figure(fmt.Sprintf("deploy_%d_agent_cpu", size), median(agent), "ms", 0)
			figure(fmt.Sprintf("deploy_%d_controller_cpu", size), median(control), "ms", 0)
			ours50 = median(ours)
		}
		if rounds > 0 {
			peers(b, e, image, ours50, rounds)
		}
	}
}

// number is what a variable of the environment says.
func number(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(b, err)
	return n
}

// pairFigure prints a figure whose ratio is the median of those of its pairs.
func pairFigure(name string, ours, floor []time.Duration, ratios []float64) {
	var scaled []time.Duration
	for _, r := range ratios {
		scaled = append(scaled, time.Duration(r*float64(time.Second)))
	}
	fmt.Fprintf(os.Stdout, "\nfigure: %s\t%.1f\tms\t%.1f\t%.2f\n", name, median(ours), median(floor), median(scaled)/1000)
}

// pushPlain puts the sample without its health check into the registry, which
// would keep the engine busy, as plain:1.
func pushPlain(b *testing.B) {
	b.Helper()
	folder := b.TempDir()
	binary := filepath.Join(folder, "sample")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "fairlead.dev/e2e/sample")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the sample: %v\n%s", err, out)
	}
	s := sampleimage.Spec(binary, "plain")
	s.Healthcheck = nil
	image, err := ociimage.Build(s)
	must(b, err)
	_, err = ociimage.Push(b.Context(), rig.registry+"/plain:1", image, ociimage.Credentials{})
	must(b, err)
}

// timedNode is a node whose agent and controller are watched.
type timedNode struct {
	*node
	agentPID, controllerPID int
}

// crowd is a deployment of several containers of one image.
type crowd struct {
	timedNode
	id, prefix string
	size       int
}

func (n timedNode) newCrowd(b *testing.B, size int) *crowd {
	b.Helper()
	c := &crowd{timedNode: n, prefix: n.newPrefix(), size: size}
	project, err := n.CreateProject(b.Context(), c.prefix)
	must(b, err)
	for i := range size {
		_, err := project.AddImage(b.Context(), n.registry, "plain:1", client.Object{"name": fmt.Sprintf("w%d", i)})
		must(b, err)
	}
	c.id, err = n.CreateDeployment(b.Context(), project.VersionID, n.id, c.prefix)
	must(b, err)
	return c
}

// timed is what one deployment took.
type timed struct {
	// up is until all containers ran, ended until the release was successful,
	// unchanged until the same deployed again was.
	up, ended, unchanged time.Duration
	// agent and controller are their CPU time until the release was successful.
	agent, controller time.Duration
}

// deployAndRemove deploys, deploys the same again, which must have the engine do
// nothing, and removes all.
func (c *crowd) deployAndRemove(b *testing.B) (d timed) {
	b.Helper()
	settle(b)
	agent, controller := cpu(b, c.agentPID), cpu(b, c.controllerPID)
	began := time.Now()
	c.start(b)
	d.ended = time.Since(began)
	d.agent, d.controller = cpu(b, c.agentPID)-agent, cpu(b, c.controllerPID)-controller
	d.up = lastStart(b, began, under(b, c.prefix), c.size).Sub(began)

	events := time.Now()
	began = time.Now()
	c.start(b)
	d.unchanged = time.Since(began)
	if done := docker(b, "events", "--since", stamp(events), "--until", stamp(time.Now()), "--filter", "label=dev.fairlead.prefix="+c.prefix); done != "" {
		b.Errorf("deploying the same again had the engine do:\n%s", done)
	}
	must(b, c.DeleteDeployment(b.Context(), c.id))
	await(b, deployPatience, "the containers to go", func() (bool, string, error) {
		left := under(b, c.prefix)
		return len(left) == 0, fmt.Sprintf("%d there", len(left)), nil
	})
	return d
}

func (c *crowd) start(b *testing.B) {
	b.Helper()
	must(b, c.Start(b.Context(), c.id))
	tick := time.NewTicker(askPause)
	defer tick.Stop()
	await(b, 3*deployPatience, "the release to end", func() (bool, string, error) {
		<-tick.C
		seen, err := c.Deployment(b.Context(), c.id)
		if err == nil && seen.Status == client.Failed {
			err = errors.New("the deployment failed")
		}
		return seen.Status == client.Successful, seen.Status, err
	})
}

func settle(b *testing.B) {
	b.Helper()
	select {
	case <-time.After(settlePause):
	case <-b.Context().Done():
	}
}

func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

// lastStart is when the last of the containers had started, after began; all must
// run. It is when the engine told of it: what newer engines say of a container
// itself, StartedAt, is when they began to start it.
func lastStart(b *testing.B, began time.Time, names []string, size int) (last time.Time) {
	b.Helper()
	if len(names) != size {
		b.Fatalf("%d containers, want %d", len(names), size)
	}
	told := map[string]time.Time{}
	for line := range strings.Lines(docker(b, "events", "--since", stamp(began), "--until", stamp(time.Now()),
		"--filter", "type=container", "--filter", "event=start", "--format", "{{.Actor.ID}} {{.TimeNano}}")) {
		id, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			b.Fatalf("the engine told %q", line)
		}
		told[id] = time.Unix(0, at)
	}
	for line := range strings.Lines(docker(b, append([]string{"container", "inspect", "--format", "{{.State.Running}} {{.Id}}"}, names...)...)) {
		runs, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		at, heard := told[id]
		if runs != "true" || !heard {
			b.Fatalf("container %s runs: %s, and the engine told when it started: %t", id, runs, heard)
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}
