package docker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// probed is a workload whose image has a health check, which HEALTH answers.
func probed(image, health string, changes ...change) spec.Workload {
	w := web(append(changes, func(c *spec.Container) {
		c.Environment = []spec.KeyValue{{Key: "HEALTH", Value: health}}
	})...)
	w.Image.Reference = image
	return w
}

func within(seconds int32) change {
	return func(c *spec.Container) {
		c.ExpectedState = &spec.ExpectedState{State: spec.StateRunning, TimeoutSeconds: seconds}
	}
}

func TestHealthCheckOfTheImageDecides(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, probed(healthImage, "ok")))
	before := s.containers()["web"]
	failure := s.applyFails(s.release(2, probed(healthImage, "bad")))
	if failure.Step != workload.StepHealth || !strings.Contains(failure.ProbeOutput, "health is bad") || !failure.RolledBack {
		t.Errorf("failure card %+v, want the probe's output", failure)
	}
	if !strings.Contains(failure.Error(), "unhealthy") {
		t.Errorf("failure %q, want the engine's verdict", failure)
	}
	if c := s.containers()["web"]; c.EngineID != before.EngineID || c.State != spec.StateRunning {
		t.Errorf("web is %+v, want release 1 serving", c)
	}
}

func TestReleaseNeedNotWaitForTheEnginesFirstProbe(t *testing.T) {
	for _, test := range []struct{ name, image, health string }{
		{"healthy at once", slowHealthImage, "ok"},
		{"healthy later", slowHealthImage, "third"},
		{"shell form", shellHealthImage, "third"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, quick())
			s.apply(s.release(1, probed(test.image, test.health)))
			seen := s.inspect("web").State
			if seen.Status != container.StateRunning || seen.Health.Status != container.Starting || len(seen.Health.Log) != 0 {
				t.Errorf("web is %+v with health %+v, want it running before the engine has probed it", seen, seen.Health)
			}
		})
	}
}

func TestProbesThatFailGoOnTheCard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		image, health, want string
		seconds             int32
	}{
		{slowHealthImage, "bad", "health is bad in run ", 10},
		{slowHealthImage, "hang", "has not ended after 2s", 10},
		{slowHealthImage, "loud", "loud loud", 15}, // much to read, on a busy machine
		// One that is cut off at the end does not hide what the one before it said.
		{shellHealthImage, "stuck", "health is stuck in run 1", 10},
	} {
		t.Run(test.health, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, quick())
			s.apply(s.release(1, web(greet("one"))))
			failure := s.applyFails(s.release(2, probed(test.image, test.health, within(test.seconds))))
			if failure.Step != workload.StepHealth || !strings.Contains(failure.ProbeOutput, test.want) || !failure.RolledBack {
				t.Errorf("failure card %+v, want %q in the probe's output", failure, test.want)
			}
			if len(failure.ProbeOutput) > 4096 {
				t.Errorf("%d bytes of output are kept", len(failure.ProbeOutput))
			}
		})
	}
}

// A probe that hangs is left to end; others are not piled upon it.
func TestOneProbeRunsAtATime(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	_ = s.applyFails(s.release(1, probed(slowHealthImage, "hang", within(5))))
	runs, err := s.engine.ContainerStatPath(t.Context(), s.prefix+"-web-failed-1", "/probes")
	if err != nil {
		t.Fatal(err)
	}
	if runs.Size != 1 {
		t.Errorf("the health command was run %d times while the first run went on", runs.Size)
	}
}

// without is an engine that does not run commands in containers.
type without struct {
	*client.Client
	create, inspect error
}

func (w *without) ContainerExecCreate(ctx context.Context, id string, o container.ExecOptions) (container.ExecCreateResponse, error) {
	if w.create != nil {
		return container.ExecCreateResponse{}, w.create
	}
	return w.Client.ContainerExecCreate(ctx, id, o)
}

func (w *without) ContainerExecInspect(ctx context.Context, id string) (container.ExecInspect, error) {
	if w.inspect != nil {
		return container.ExecInspect{}, w.inspect
	}
	return container.ExecInspect{ExecID: id}, nil
}

func TestEnginesVerdictDecidesWhenItRunsNoCommands(t *testing.T) {
	for name, engine := range map[string]*without{
		"commands are refused":     {create: errors.New("exec is forbidden here")},
		"the outcome is not known": {inspect: errors.New("exec is forgotten")},
		"nothing was run":          {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, quick())
			engine.Client = s.engine
			s.driver = docker.New(engine, quick())
			s.apply(s.release(1, probed(healthImage, "ok")))
			if c := s.containers()["web"]; c.Health != "healthy" {
				t.Errorf("web is %+v, want it healthy", c)
			}
		})
	}
}

// stuck is an engine that does not answer when it is told to run a command,
// and a client that waits for it whatever happens.
type stuck struct {
	*client.Client
	asked, answer chan struct{}
}

func (s *stuck) ContainerExecAttach(context.Context, string, container.ExecAttachOptions) (types.HijackedResponse, error) {
	close(s.asked)
	<-s.answer
	return types.HijackedResponse{}, errors.New("too late")
}

func TestApplyEndsWithItsContextWhileAProbeIsStuck(t *testing.T) {
	s := newSite(t, quick())
	engine := &stuck{Client: s.engine, asked: make(chan struct{}), answer: make(chan struct{})}
	defer close(engine.answer)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- docker.New(engine, quick()).Apply(ctx, s.release(1, probed(slowHealthImage, "ok")), s)
	}()
	deadline := time.After(time.Minute)
	select {
	case <-engine.asked:
		cancel()
	case <-deadline:
		t.Fatalf("the health command was not run; events: %s", s.story())
	}
	select {
	case err := <-ended:
		if !apperr.Is(err, apperr.Unavailable) {
			t.Errorf("Apply: %v, want unavailable", err)
		}
	case <-deadline:
		t.Fatalf("Apply goes on though its context has ended; events: %s", s.story())
	}
}
