package agentrt

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/exits"
	"fairlead.dev/shared/agentrt/internal/outbox"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/taskgroup"
	"fairlead.dev/shared/workload"
)

const (
	// observePeriod is how often the containers are listed anyway, give or
	// take a tenth: events of engines are hints, the list is the truth.
	observePeriod = 30 * time.Second
	// observeQuiet is how long hints are gathered before a list is made, and
	// observeShare how many times as long as the last list took, so that an
	// engine with many containers is not kept busy by being watched.
	observeQuiet = 200 * time.Millisecond
	observeShare = 4
	observeRetry = 5 * time.Second
	listTimeout  = 30 * time.Second
	// maxEngineError bounds what is told of an engine that is away.
	maxEngineError = 512
)

// observer tells which containers there are, and which of ours ended.
type observer struct {
	driver workload.Driver
	held   *assignments
	outbox *outbox.Outbox
	exits  *exits.Detector
	now    func() time.Time
	random func() float64
	log    *slog.Logger

	away bool                   // the engine did not answer the last time
	last *agentv1.ContainerList // that was seen
	took time.Duration
}

func (o *observer) run(ctx context.Context) error {
	hints := make(chan struct{}, 1)
	seen := make(chan []workload.Container, 1)
	return taskgroup.Run(ctx,
		taskgroup.Task{Name: "watch", Run: func(ctx context.Context) error { return o.watch(ctx, hints) }},
		taskgroup.Task{Name: "list", Run: func(ctx context.Context) error { return o.listOnHints(ctx, hints, seen) }},
		taskgroup.Task{Name: "exits", Run: func(ctx context.Context) error { return o.look(ctx, seen) }},
	)
}

func (o *observer) watch(ctx context.Context, hints chan<- struct{}) error {
	hint := func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
	for ctx.Err() == nil {
		if err := o.driver.Watch(ctx, hint); ctx.Err() == nil {
			o.log.Debug("the engine's events were lost", "error", err)
		}
		hint()
		backoff.Sleep(ctx, observeRetry)
	}
	return nil
}

func (o *observer) listOnHints(ctx context.Context, hints <-chan struct{}, seen chan []workload.Container) error {
	for ctx.Err() == nil {
		if containers, ok := o.list(ctx); ok {
			select {
			case <-seen: // nobody has looked at it yet: the newer one is enough
			default:
			}
			seen <- containers // has room: nobody else sends
		}
		period := time.Duration((0.9 + 0.2*o.random()) * float64(observePeriod))
		if o.away {
			period = observeRetry
		}
		timer := time.NewTimer(period)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-hints:
			backoff.Sleep(ctx, max(observeQuiet, observeShare*o.took))
		case <-o.held.changed: // other containers are left over now
		}
		timer.Stop()
	}
	return nil
}

// look notices ends; it may have to wait for the disk, which lists do not.
func (o *observer) look(ctx context.Context, seen <-chan []workload.Container) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case containers := <-seen:
			o.exits.Look(ctx, containers)
		}
	}
}

// list tells the containers, and returns them. An engine that does not answer
// has not lost its containers: those that were seen last are told, and that the
// engine is away.
func (o *observer) list(ctx context.Context) ([]workload.Container, bool) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	began := time.Now()
	containers, err := o.driver.List(ctx)
	o.took = time.Since(began)
	if err != nil {
		o.lost(ctx, err)
		return nil, false
	}
	if o.away {
		o.log.Info("the engine answers again")
	}
	o.away = false
	prefixes, known := o.held.prefixes(), o.held.held().GetLineage() != ""
	list := &agentv1.ContainerList{ObservedAt: timestamppb.New(o.now())}
	for i, c := range containers {
		if i == specpb.MaxContainers {
			o.log.Warn("more containers than can be reported", "containers", len(containers), "reported", i)
			break
		}
		c.Leftover = known && c.Managed && c.ID.Prefix != "" && !prefixes[c.ID.Prefix]
		list.Containers = append(list.Containers, specpb.ObservedToProto(c))
	}
	o.last = list
	o.outbox.Containers(list)
	return slices.Clone(containers), true
}

// lost tells that the engine does not answer.
func (o *observer) lost(ctx context.Context, err error) {
	if ctx.Err() != nil && context.Cause(ctx) == context.Canceled { //nolint:errorlint // the agent stops
		return
	}
	if !o.away {
		o.log.Warn("the containers cannot be listed", "error", err)
	}
	o.away = true
	text := err.Error()
	o.outbox.Containers(&agentv1.ContainerList{
		ObservedAt: o.last.GetObservedAt(), Containers: o.last.GetContainers(),
		EngineError: text[:min(len(text), maxEngineError)],
	})
}
