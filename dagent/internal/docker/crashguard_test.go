package docker_test

import (
	"context"
	"io"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// forgetful is an engine that remembers nothing of before, as after a crash.
type forgetful struct {
	*client.Client
	live bool
}

func (f forgetful) Events(ctx context.Context, options events.ListOptions) (<-chan events.Message, <-chan error) {
	if options.Until == "" {
		return f.Client.Events(ctx, options)
	}
	end := make(chan error, 1)
	end <- io.EOF
	return nil, end
}

func (f forgetful) Info(ctx context.Context) (system.Info, error) {
	info, err := f.Client.Info(ctx)
	info.LiveRestoreEnabled = f.live
	return info, err
}

// noted is a record of what ran, in memory.
type noted struct {
	mu   sync.Mutex
	runs docker.Runs
}

func (n *noted) Load() (docker.Runs, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.copied(n.runs), nil
}

func (n *noted) Save(runs docker.Runs) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runs = n.copied(runs)
	return nil
}

// copied is what a file would hand out: nobody shares its map.
func (*noted) copied(runs docker.Runs) docker.Runs {
	runs.Running = maps.Clone(runs.Running)
	return runs
}

// What is started after a crash is only what ran until then, and was to.
func TestWhatIsNotStartedAfterACrash(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		live   bool
		change func(run *docker.Run, lostAt *time.Time)
		starts bool
	}{
		{"ended with the engine", false, func(*docker.Run, *time.Time) {}, true},
		{"somebody asked for its end", false, func(run *docker.Run, _ *time.Time) { run.Unwanted = true }, false},
		{"another run", false, func(run *docker.Run, _ *time.Time) { run.StartedAt = run.StartedAt.Add(-time.Second) }, false},
		{"ended before", false, func(_ *docker.Run, lostAt *time.Time) { *lostAt = time.Now().Add(time.Second) }, false},
		{"the engine ends nothing", true, func(*docker.Run, *time.Time) {}, false},
		{"the engine was not lost", false, func(_ *docker.Run, lostAt *time.Time) { *lostAt = time.Time{} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, quick())
			s.apply(s.release(1, web()))
			before := s.containers()["web"]
			run, lostAt := docker.Run{StartedAt: before.StartedAt}, time.Now()
			if err := s.engine.ContainerStop(t.Context(), before.EngineID, container.StopOptions{}); err != nil {
				t.Fatal(err)
			}
			test.change(&run, &lostAt)
			store := &noted{runs: docker.Runs{Running: map[string]docker.Run{before.EngineID: run}, LostAt: lostAt}}
			options := quick()
			options.Runs = store
			s.driver = docker.New(forgetful{s.engine, test.live}, options)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- s.driver.Watch(ctx, func() {}) }()
			s.eventually("what ended with the engine dealt with", func() (bool, any) {
				runs, _ := store.Load()
				return runs.LostAt.IsZero(), runs
			})
			if is := s.containers()["web"]; (is.State == spec.StateRunning) != test.starts {
				t.Errorf("it is %s; that it is started should be %v", is.State, test.starts)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A stop is noted before the engine is told.
func TestAnEndThatIsAskedForIsNoted(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	store := &noted{}
	options := quick()
	options.Runs = store
	defer s.agent(options)()
	s.apply(s.release(1, web(), named("db")))
	of := func(name string) func() (docker.Run, bool) {
		id := s.containers()[name].EngineID
		return func() (docker.Run, bool) {
			runs, _ := store.Load()
			run, known := runs.Running[id]
			return run, known
		}
	}
	webRun, dbRun := of("web"), of("db")
	s.eventually("the record of both", func() (bool, any) {
		_, webKnown := webRun()
		_, dbKnown := dbRun()
		return webKnown && dbKnown, store
	})
	stopping := &stopAsked{Client: s.engine, asked: webRun}
	driver := docker.New(stopping, options)
	if err := driver.Stop(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if !stopping.noted {
		t.Error("the engine was told to stop the container before that was noted")
	}
}

// stopAsked looks at the record when a container is to be stopped.
type stopAsked struct {
	*client.Client
	asked func() (docker.Run, bool)
	noted bool
}

func (s *stopAsked) ContainerStop(ctx context.Context, id string, options container.StopOptions) error {
	run, known := s.asked()
	s.noted = known && run.Unwanted
	return s.Client.ContainerStop(ctx, id, options)
}
