package app_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// stuckReaders is how many read a flood of lines and take nothing of it, spread
// over the loud nodes.
const stuckReaders, loudNodes = 48, 4

// flooded is a quiet node to deploy on, and nodes with a container each that
// writes as fast as it is let.
type flooded struct {
	client     *controllertest.Client
	deployment string
	drivers    []*workloadtest.FakeDriver
	logs       []string
}

func newFlooded(t testing.TB) *flooded {
	t.Helper()
	c := controllertest.New(t)
	f := &flooded{client: c.Admin(t)}
	node, deployment := place(t, f.client)
	f.deployment = deployment
	f.serve(t, node)
	var d struct{ Version struct{ ID string } }
	f.client.Get(deployment).Expect(t, http.StatusOK).Into(t, &d)
	for i := range loudNodes {
		loud := f.client.Post("/api/acme/nodes", map[string]any{"name": fmt.Sprint("loud ", i)}).Expect(t, http.StatusCreated).String(t, "id")
		f.drivers = append(f.drivers, f.serve(t, loud))
		id := f.client.Post("/api/acme/deployments", map[string]any{"versionId": d.Version.ID, "nodeId": loud, "prefix": "shop"}).
			Expect(t, http.StatusCreated).String(t, "id")
		f.client.Post("/api/acme/deployments/"+id+"/start?wait=5m", nil).Expect(t, http.StatusOK)
		f.logs = append(f.logs, nodePath(loud)+"/shop/containers/web/log")
	}
	f.deploy(t)
	return f
}

// serve has an agent serve a node.
func (f *flooded) serve(t testing.TB, node string) *workloadtest.FakeDriver {
	t.Helper()
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	e := f.client.Install(t, "acme", node)
	controllertest.StartAgent(t, t.TempDir(), &e, driver)
	awaitNode(t, f.client, node, "connected")
	return driver
}

// deploy starts the deployment of the quiet node and returns how long it took
// until it ran.
func (f *flooded) deploy(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	f.client.Post(f.deployment+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	return time.Since(began)
}

// begin has readers open the containers' logs that take nothing, and lets the
// containers write.
func (f *flooded) begin(t testing.TB) {
	t.Helper()
	for i := range stuckReaders {
		f.client.Follow(f.logs[i%loudNodes], "")
	}
	for _, d := range f.drivers {
		if !d.Flood("shop-web", strings.Repeat("f", 1000)) {
			t.Fatal("there is no container to write")
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAFloodOfLinesHoldsUpNothing has containers write without end for readers
// that take nothing. Controller, agents and readers are one process.
func TestAFloodOfLinesHoldsUpNothing(t *testing.T) {
	f := newFlooded(t)
	before := heap()
	live := f.client.Follow(f.logs[0], "")
	f.begin(t)
	for range 5 {
		f.deploy(t)
	}
	// 8 MiB in the controller for each loud agent, as much again in the agents,
	// and what the connections take.
	const most = 96 << 20
	if after := heap(); after > before+most {
		t.Errorf("the flood holds %d MiB, want at most %d", (after-before)>>20, most>>20)
	}
	// One that begins to read gets what comes, and is told what did not.
	lines, dropped := 0, 0
	for lines < 2000 {
		switch event, ok := live.Next(); {
		case !ok || event.Name == "end":
			t.Fatalf("the stream ended after %d lines: %s", lines, event.Data)
		case event.Name == "dropped":
			dropped++
		default:
			lines++
		}
	}
	t.Logf("%d lines, %d gaps", lines, dropped)
	f.deploy(t)
}

// BenchmarkDeployUnderALogFlood prints how much longer a deployment takes while
// containers flood stuck readers, beside the same without, in one run.
func BenchmarkDeployUnderALogFlood(b *testing.B) {
	f := newFlooded(b)
	for range b.N {
		quiet := f.takeDeployments(b)
		f.begin(b)
		tellDeployments("under_log_flood", f.takeDeployments(b), quiet)
	}
}

// floodRounds are the deployments that are measured.
const floodRounds = 100

// takeDeployments returns how long deployments take, in ascending order.
func (f *flooded) takeDeployments(t testing.TB) []time.Duration {
	t.Helper()
	var all []time.Duration
	for range floodRounds {
		all = append(all, f.deploy(t))
	}
	slices.Sort(all)
	return all
}

// tellDeployments prints figures, not on the line that the testing package has
// begun.
func tellDeployments(beside string, loud, quiet []time.Duration) {
	for _, part := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		at := int(part.q * floodRounds)
		with, without := loud[at].Seconds()*1000, quiet[at].Seconds()*1000
		fmt.Fprintf(os.Stdout, "\nfigure: deploy_%s_%s\t%.1f\tms\t%.1f\t%.2f\n", part.name, beside, with, without, with/without)
	}
}

// liveReaders read as fast as they can what the loud nodes' containers write.
const liveReaders = 8

// read is what live readers got.
type read struct{ bytes, lines, gaps atomic.Int64 }

// readLive has readers take logs until the test ends.
func (f *flooded) readLive(t testing.TB) *read {
	t.Helper()
	var got read
	for i := range liveReaders {
		live := f.client.Follow(f.logs[i%loudNodes], "")
		go func() { // ends with the stream, which the test closes
			for event, ok := live.Next(); ok; event, ok = live.Next() {
				if event.Name == "dropped" {
					got.gaps.Add(1)
					continue
				}
				got.lines.Add(1)
				got.bytes.Add(int64(len(event.Data)))
			}
		}()
	}
	return &got
}

// BenchmarkLogsToLiveReaders prints how much of a flood reaches readers that
// take all they can, what that costs, and how long deployments take beside it.
// Controller, agents, readers and the containers are one process: its processor
// time is that of all of them.
func BenchmarkLogsToLiveReaders(b *testing.B) {
	f := newFlooded(b)
	for range b.N {
		quiet := f.takeDeployments(b)
		got := f.readLive(b)
		for _, d := range f.drivers {
			if !d.Flood("shop-web", strings.Repeat("f", 1000)) {
				b.Fatal("there is no container to write")
			}
		}
		f.deploy(b) // what the streams take to begin is not measured
		began, spent, bytes, gaps := time.Now(), processorTime(b), got.bytes.Load(), got.gaps.Load()
		loud := f.takeDeployments(b)
		<-time.After(time.Until(began.Add(leastReading)))
		took, megabytes := time.Since(began).Seconds(), float64(got.bytes.Load()-bytes)/1e6
		for _, figure := range []struct {
			name  string
			value float64
			unit  string
		}{
			{"logs_to_live_readers", megabytes / took, "MB/s"},
			{"logs_to_live_readers_cpu", float64((processorTime(b) - spent).Milliseconds()) / megabytes, "ms/MB"},
			{"logs_to_live_readers_gaps", float64(got.gaps.Load()-gaps) / took, "1/s"},
		} {
			fmt.Fprintf(os.Stdout, "\nfigure: %s\t%.1f\t%s\t-\t-\n", figure.name, figure.value, figure.unit)
		}
		tellDeployments("beside_live_readers", loud, quiet)
	}
}

// leastReading is for how long live readers are measured at least.
const leastReading = 5 * time.Second

// processorTime is what this process has used.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
