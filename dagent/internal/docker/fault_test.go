package docker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

var errInjected = errors.New("injected fault")

// faulty is an engine on which calls that change something fail from the n-th
// on. A call that fails may have had its effect before the answer was lost.
type faulty struct {
	*client.Client
	mu sync.Mutex
	// calls counts down to the fault; a negative count never comes to it.
	calls int
	// dead makes every call after the fault fail too, as if the agent had been
	// killed there.
	dead bool
	// lost makes the faulty call take effect.
	lost bool

	happened string
	// at is called where the fault is, when it is set.
	at func()
}

func (f *faulty) do(name string, act func() error) error {
	f.mu.Lock()
	f.calls--
	fault := f.calls == 0
	over := f.calls < 0 && f.dead && f.happened != ""
	if fault {
		f.happened = name
	}
	f.mu.Unlock()
	if fault && f.at != nil {
		f.at()
		return act()
	}
	switch {
	case over:
		return errInjected
	case fault && f.lost:
		return errors.Join(act(), errInjected)
	case fault:
		return errInjected
	}
	return act()
}

func (f *faulty) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *ocispec.Platform, name string) (made container.CreateResponse, err error) {
	err = f.do("create "+name, func() error {
		made, err = f.Client.ContainerCreate(ctx, c, h, n, p, name)
		return err
	})
	return made, err
}

func (f *faulty) ContainerStart(ctx context.Context, id string, o container.StartOptions) error {
	return f.do("start", func() error { return f.Client.ContainerStart(ctx, id, o) })
}

func (f *faulty) ContainerStop(ctx context.Context, id string, o container.StopOptions) error {
	return f.do("stop", func() error { return f.Client.ContainerStop(ctx, id, o) })
}

func (f *faulty) ContainerRename(ctx context.Context, id, name string) error {
	return f.do("rename to "+name, func() error { return f.Client.ContainerRename(ctx, id, name) })
}

func (f *faulty) ContainerRemove(ctx context.Context, id string, o container.RemoveOptions) error {
	return f.do("remove", func() error { return f.Client.ContainerRemove(ctx, id, o) })
}

func (f *faulty) ContainerUpdate(ctx context.Context, id string, c container.UpdateConfig) (r container.UpdateResponse, err error) {
	err = f.do("update", func() error {
		r, err = f.Client.ContainerUpdate(ctx, id, c)
		return err
	})
	return r, err
}

// Every call is walked through in memory by TestAnAgentThatDiesAtAnyCallConverges;
// this is the same on a real engine for the two changes that do most.
//
// The property of every Apply: whatever engine call fails or is the last one
// before the agent dies, a workload is never left with neither its old nor its
// new container running once Apply has been called again, and a second Apply
// that succeeds leaves the new release and nothing else.
func TestApplyConvergesAfterAFaultAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name       string
		dead, lost bool
		shapes     []string
	}{
		{"call fails", false, false, []string{"failing release"}},
		{"agent dies after the call", true, true, []string{"recreate"}},
	} {
		for _, shape := range mode.shapes {
			t.Run(mode.name+"/"+shape, func(t *testing.T) {
				t.Parallel()
				for call := 1; ; call++ {
					fault := &faulty{Client: connect(t), calls: call, dead: mode.dead, lost: mode.lost}
					faultAt(t, fault, shape, call)
					if fault.happened == "" {
						if call < 5 {
							t.Fatalf("only %d engine calls were seen", call-1)
						}
						return // the whole of Apply was walked through
					}
				}
			})
		}
	}
}

func faultAt(t *testing.T, fault *faulty, shape string, call int) {
	t.Helper()
	s := newSite(t, swift())
	defer s.forget()
	var shaped []change
	if shape == "recreate" {
		shaped = append(shaped, publishes(freePort(t)))
	}
	s.apply(s.release(1, web(append(shaped, greet("one"))...), named("db", greet("one"))))
	old := s.containers()

	next := s.release(2, web(append(shaped, greet("two"))...), named("db", greet("two")))
	if shape == "failing release" {
		next = s.release(2, web(greet("two")), named("db", greet("two"), args("exit", "1")))
	}
	first := docker.New(fault, swift()).Apply(t.Context(), next, s)
	at := fmt.Sprintf("fault at call %d (%s)", call, fault.happened)

	var failure *workload.Failure
	if errors.As(first, &failure) && failure.RolledBack {
		s.serves(at+", rolled back", old)
	}

	// A release that cannot be pulled comes next: whatever was there serves.
	missing := named("db")
	missing.Image.Reference = missingImage
	if failure := s.applyFails(s.release(3, web(greet("three")), missing)); failure.Step != workload.StepPull {
		t.Errorf("%s: then %v, want it to fail at the pull", at, failure)
	}
	s.serves(at+", then a failing release", nil)

	final := s.release(4, web(append(shaped, greet("two"))...), named("db", greet("two")))
	s.apply(final)
	s.serves(at+", then applied again", nil)
	found := s.containers()
	for name, c := range found {
		if name != "web" && name != "db" && !strings.Contains(name, "-failed-") {
			t.Errorf("%s: %s is left over: %+v", at, name, c)
		}
	}
	for _, w := range final.Workloads {
		if c := found[w.Name()]; c.SpecHash != w.Hash {
			t.Errorf("%s: %s is %+v, want the new release", at, w.Name(), c)
		}
	}
}

// swift is for tests that apply very often.
func swift() docker.Options {
	options := quick()
	options.StabilityWindow = 120 * time.Millisecond
	options.StopGrace = time.Second
	return options
}

// serves demands that web and db run, and are the containers given, if any.
func (s *site) serves(when string, want map[string]workload.Container) {
	s.Helper()
	found := s.containers()
	for _, name := range []string{"web", "db"} {
		c := found[name]
		if c.State != spec.StateRunning {
			s.Fatalf("%s: %s is %+v, want it running; all: %+v\n%s", when, name, c, found, s.story())
		}
		if want != nil && c.EngineID != want[name].EngineID {
			s.Errorf("%s: %s is of release %d, want the old container", when, name, c.Release)
		}
	}
}

// forget removes the deployment before the test ends.
func (s *site) forget() {
	s.Helper()
	if err := docker.New(s.engine, docker.Options{StopGrace: time.Second}).Remove(s.Context(), s.prefix, s); err != nil {
		s.Fatal(err)
	}
}
