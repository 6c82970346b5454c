package docker_test

import (
	"context"
	"maps"
	"slices"
	"time"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
)

// memoryRouter leads requests to containers of an engine in memory. Moving them
// is a call like those of the engine: the agent may die at it.
type memoryRouter struct{ m *memory }

func (r memoryRouter) Plan(_ spec.Deployment, w spec.Workload) (docker.RoutePlan, []error) {
	if w.Container.Expose == nil || *w.Container.Expose == spec.ExposeNone {
		return docker.RoutePlan{}, nil
	}
	return docker.RoutePlan{Labels: map[string]string{docker.LabelRoute: "some"}, Network: "edge"}, nil
}

func (r memoryRouter) Prepare(context.Context, spec.Deployment) (func(), error) {
	return func() {}, nil
}

func (r memoryRouter) Move(ctx context.Context, _ string, targets []docker.RouteTarget) error {
	led := map[string][]string{}
	for _, t := range targets {
		if name := t.Labels["dev.fairlead.name"]; t.Labels[docker.LabelRoute] != "" && !t.Down {
			led[name] = append(led[name], t.ID)
		}
	}
	if maps.EqualFunc(led, r.m.led, slices.Equal) {
		return nil
	}
	return r.m.change(ctx, "move routes", func() error {
		r.m.led = led
		return nil
	})
}

func (r memoryRouter) Drain(context.Context, []string, time.Duration) (int, error) { return 0, nil }

func (r memoryRouter) Tidy(context.Context) error { return nil }

// answering counts the containers that requests are led to and that are well, by
// workload. The engine is locked.
func (m *memory) answering() map[string]int {
	answering := map[string]int{}
	for name, ids := range m.led {
		for _, id := range ids {
			if c := m.containers[id]; c != nil && c.well() {
				answering[name]++
			}
		}
	}
	return answering
}
