package agentrt

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/outbox"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/taskgroup"
	"fairlead.dev/shared/workload"
)

const (
	// observePeriod is how often the containers are listed anyway: events of
	// engines are hints, the list is the truth.
	observePeriod = 30 * time.Second
	// observeQuiet is how long hints are gathered before a list is made.
	observeQuiet = 200 * time.Millisecond
	observeRetry = 5 * time.Second
	listTimeout  = 30 * time.Second
)

// observer tells which containers there are.
type observer struct {
	driver workload.Driver
	outbox *outbox.Outbox
	now    func() time.Time
	log    *slog.Logger
	away   bool // the engine did not answer the last time
}

func (o *observer) run(ctx context.Context) error {
	hints := make(chan struct{}, 1)
	return taskgroup.Run(ctx,
		taskgroup.Task{Name: "watch", Run: func(ctx context.Context) error { return o.watch(ctx, hints) }},
		taskgroup.Task{Name: "list", Run: func(ctx context.Context) error { return o.listOnHints(ctx, hints) }},
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

func (o *observer) listOnHints(ctx context.Context, hints <-chan struct{}) error {
	period := time.NewTicker(observePeriod)
	defer period.Stop()
	for ctx.Err() == nil {
		o.list(ctx)
		select {
		case <-ctx.Done():
		case <-period.C:
		case <-hints:
			backoff.Sleep(ctx, observeQuiet)
		}
	}
	return nil
}

// list tells the containers. When the engine does not answer nothing is told:
// an engine that is away has not lost its containers.
func (o *observer) list(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	containers, err := o.driver.List(ctx)
	if err != nil {
		if !o.away && ctx.Err() == nil {
			o.log.Warn("the containers cannot be listed", "error", err)
		}
		o.away = true
		return
	}
	if o.away {
		o.log.Info("the engine answers again")
	}
	o.away = false
	if len(containers) > specpb.MaxContainers {
		o.log.Warn("more containers than can be reported", "containers", len(containers), "reported", specpb.MaxContainers)
		containers = containers[:specpb.MaxContainers]
	}
	list := &agentv1.ContainerList{ObservedAt: timestamppb.New(o.now())}
	for _, c := range containers {
		list.Containers = append(list.Containers, specpb.ObservedToProto(c))
	}
	o.outbox.Containers(list)
}
