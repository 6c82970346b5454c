package docker_test

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/durable"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func lives(path string) change {
	return func(c *spec.Container) { c.HealthCheckConfig = &spec.HealthCheckConfig{Port: 80, LivenessProbe: path} }
}

// watching is an agent at work: it watches the engine and asks containers whether
// they are alive, until stop is called.
func (s *site) watching(options docker.Options) (heard chan struct{}, stop func()) {
	s.Helper()
	s.driver = docker.New(s.engine, options)
	ctx, cancel := context.WithCancel(s.Context())
	heard = make(chan struct{}, 1)
	ended := make(chan error, 2)
	driver := s.driver
	go func() {
		ended <- driver.Watch(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
	}()
	go func() { ended <- driver.RunLiveness(ctx) }()
	return heard, func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				s.Error(err)
			}
		}
	}
}

// turnBad has the program of a container answer badly until it is started again.
func (s *site) turnBad(name string) {
	s.Helper()
	s.visit(name, "/turn")
}

// A container that turns bad after the deploy is unhealthy and is restarted; the
// pause before the next restart grows and is kept over a restart of the agent. One
// without a livenessProbe is left alone.
func TestContainerThatIsNotAliveIsRestarted(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	ledger := durable.NewRecord[map[string]docker.RestartRecord](filepath.Join(t.TempDir(), "restarts.json"), "restarts")
	options := quick()
	options.Liveness = docker.Liveness{Period: 200 * time.Millisecond, Restarts: ledger}
	_, stop := s.watching(options)
	s.apply(s.release(1, web(args("serve", "ok"), lives("/live")), named("other", args("serve", "ok"), probing(80, "", "/ready"))))
	s.health("web", container.Healthy)
	before, other := s.containers()["web"], s.containers()["other"]

	s.turnBad("other")
	s.turnBad("web")
	s.eventually("the restart", func() (bool, any) {
		now := s.containers()["web"]
		return now.StartedAt.After(before.StartedAt) && now.EngineID == before.EngineID, now
	})
	s.health("web", container.Healthy)
	s.eventually("the restart on record", func() (bool, any) {
		kept, err := ledger.Load()
		return kept[before.EngineID].Count == 1, err
	})
	if now := s.containers()["other"]; !now.StartedAt.Equal(other.StartedAt) || now.Health != "" {
		t.Errorf("a container without a livenessProbe is %+v, it was %+v", now, other)
	}
	stop()

	// The next agent knows that it was restarted often, and lately.
	if err := ledger.Save(map[string]docker.RestartRecord{before.EngineID: {Count: 6, Last: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	heard, stop := s.watching(options)
	defer stop()
	s.health("web", container.Healthy)
	restarted := s.containers()["web"]
	s.turnBad("web")
	s.health("web", container.Unhealthy)
	select {
	case <-heard:
	case <-time.After(time.Minute):
		t.Error("whoever watches was not told")
	}
	if now := s.containers()["web"]; !now.StartedAt.Equal(restarted.StartedAt) || now.State != spec.StateRunning {
		t.Errorf("web is %+v, want it not restarted again within the pause", now)
	}
	// It is asked as long as it runs, and not after it was taken away.
	if err := s.driver.Remove(t.Context(), s.prefix, workload.ReporterFunc(func(workload.Event) {})); err != nil {
		t.Fatal(err)
	}
}

// A container that was started has its time to answer for the first time.
func TestContainerThatStartsSlowlyIsNotRestarted(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	s.apply(s.release(1, web(args("serve", "ok"), lives("/live"))))
	s.turnBad("web")
	before := s.containers()["web"]
	options := quick()
	options.Liveness = docker.Liveness{Period: 20 * time.Millisecond, Grace: time.Hour}
	_, stop := s.watching(options)
	defer stop()
	s.asked("web", 10)
	if now := s.containers()["web"]; now.Health != "" || !now.StartedAt.Equal(before.StartedAt) {
		t.Errorf("web is %+v, want it left alone as it is starting", now)
	}
}

func (s *site) health(name, want string) {
	s.Helper()
	s.eventually(name+" to be "+want, func() (bool, any) {
		now := s.containers()[name]
		return now.Health == want, now
	})
}

// asked waits until a program that serves has had so many requests of others.
func (s *site) asked(name string, more int) {
	s.Helper()
	first, mine := s.visit(name, "/count"), 0
	s.eventually("probes", func() (bool, any) {
		mine++
		n := s.visit(name, "/count")
		return n >= first+mine+more, n
	})
}

// visit asks a program that serves for a path, and returns how many requests it
// has had.
func (s *site) visit(name, path string) (requests int) {
	s.Helper()
	ask, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://"+s.inspect(name).NetworkSettings.Networks["bridge"].IPAddress+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.Fatal(err)
	}
	_, count, _ := strings.Cut(string(text), "in request ")
	if requests, err = strconv.Atoi(count); err != nil {
		s.Fatalf("%s answers %q", path, text)
	}
	return requests
}
