package docker

import (
	"context"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"fairlead.dev/shared/apperr"
)

// Watch calls changed after every event about a container, when a liveness
// probe tells something else than before, and once when it has begun to listen:
// what happened before was not heard.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.reach(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	heard, lost := d.engine.Events(ctx, events.ListOptions{
		Filters: filters.NewArgs(filters.Arg("type", string(events.ContainerEventType))),
	})
	d.memory.listen()
	defer d.memory.deafen()
	d.startForsaken(ctx)
	var recovering sync.WaitGroup
	recovering.Go(func() {
		d.startCrashed(ctx)
		changed() // lists made meanwhile did not count
	})
	defer func() {
		cancel()
		recovering.Wait()
	}()
	changed()
	for {
		select {
		case e := <-heard:
			if matters(e.Action) {
				d.runs.hear(e)
				d.memory.touch(e.Actor.ID)
				if concernsRoutes(e.Actor.Attributes) || d.isAdopted(e.Actor.ID) {
					d.hear()
				}
				changed()
			}
		case <-d.liveness.judged:
			changed()
		case err := <-lost:
			if ctx.Err() != nil {
				return nil
			}
			d.runs.lose(d.options.Now())
			return apperr.Wrap(apperr.Unavailable, err, "the docker engine's events are lost")
		case <-ctx.Done():
			return nil
		}
	}
}

// concernsRoutes reports whether a container has to do with routes, by its
// labels.
func concernsRoutes(labels map[string]string) bool {
	_, routed := labels[LabelRoute]
	_, edge := labels[LabelEdge]
	return routed || edge
}

// matters reports whether an event may change what List returns. Health probes
// make two exec events every time.
func matters(action events.Action) bool {
	verb, _, _ := strings.Cut(string(action), ":")
	switch verb {
	case "exec_create", "exec_start", "exec_die", "exec_detach", "attach", "detach", "top", "resize", "copy", "export", "archive-path", "extract-to-dir":
		return false
	}
	return true
}
