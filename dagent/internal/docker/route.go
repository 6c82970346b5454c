package docker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"fairlead.dev/shared/spec"
)

// Router gives deployments the routes they ask for: through a proxy of the
// agent's own, or by labels that a proxy on the node reads.
//
// The labels it puts on containers say what their routes are, so that the
// routes of a prefix follow from the containers that serve it.
type Router interface {
	// Plan says what the containers of a workload need to be routed to, or
	// what of its routing cannot be honored here. It asks nobody.
	Plan(d spec.Deployment, w spec.Workload) (RoutePlan, []error)
	// Prepare has ready what the routes of a deployment need, before anything
	// is created for it: the network that the plan names, the proxy. It fails
	// with Conflict when another deployment of the node has one of the routes.
	// What was made ready stays until done is called, which is never nil; from
	// then on Tidy goes by the containers that are there.
	Prepare(ctx context.Context, d spec.Deployment) (done func(), err error)
	// Move makes the containers the ones that get the requests of the prefix,
	// all at once. No request is dropped: those under way go on where they
	// are. Without containers the prefix has no routes any more.
	Move(ctx context.Context, prefix string, targets []RouteTarget) error
	// Drain waits until none of the containers has a request under way, for
	// the time within at most, which is the router's own when it is 0, and
	// returns how many requests were left.
	Drain(ctx context.Context, containers []string, within time.Duration) (left int, err error)
	// Tidy is called now and then: it puts right what is not as it should be,
	// and removes what no deployment needs any more.
	Tidy(ctx context.Context) error
}

// RoutePlan is what a container needs to be routed to. The zero value is that
// of a workload without routes.
type RoutePlan struct {
	Labels map[string]string
	// Network is joined under the aliases that AliasOf gives.
	Network string
}

// RouteTarget is a container that may be routed to.
type RouteTarget struct {
	// ID is the engine's.
	ID string
	// Labels are those of the container.
	Labels map[string]string
	// Address is what it has on the networks it has joined, by their names.
	Address map[string]string
	// Down is true for one that does not run: it gets no requests, but its
	// route stays its own.
	Down bool
	// Unhealthy is true for one that gets requests only when no other can.
	Unhealthy bool
}

// RouteAlias is the name of a container on the network it is routed through.
// It stays when the container is renamed, or gets another address.
func RouteAlias(id string) string { return "c-" + id[:min(12, len(id))] }

// planRoutes adds to a blueprint what the workload's routes need.
func (d *Driver) planRoutes(dep spec.Deployment, w spec.Workload, b *blueprint) []error {
	if !asksForRoutes(w.Container) {
		return nil
	}
	if d.options.Router == nil {
		return refuseRoutes(w.Container)
	}
	plan, refused := d.options.Router.Plan(dep, w)
	if len(refused) > 0 {
		return refused
	}
	maps.Copy(b.config.Labels, plan.Labels)
	b.routed = plan.Network
	return nil
}

// refuseRoutes names the keys that only a router honors.
func refuseRoutes(c spec.Container) []error {
	p := problems{}
	const why = "routing is switched off on this node"
	if c.Expose != nil && *c.Expose != spec.ExposeNone {
		p.unsupported("expose", why)
	}
	if c.Routing != nil && *c.Routing != (spec.Routing{}) {
		p.unsupported("routing", why)
	}
	if len(c.CustomHeaders) > 0 {
		p.unsupported("customHeaders", why)
	}
	if c.ProxyHeaders != nil && *c.ProxyHeaders {
		p.unsupported("proxyHeaders", why)
	}
	return p.refused
}

// asksForRoutes reports whether any key that a proxy honors is set.
func asksForRoutes(c spec.Container) bool {
	return c.Expose != nil && *c.Expose != spec.ExposeNone || c.Routing != nil && *c.Routing != (spec.Routing{}) ||
		len(c.CustomHeaders) > 0 || c.ProxyHeaders != nil && *c.ProxyHeaders
}

// joinRouted joins a container to the network it is routed through, before it
// is started.
func (a *applying) joinRouted(ctx context.Context, b blueprint, name, id string) error {
	if b.routed == "" {
		return nil
	}
	if err := a.engine.NetworkConnect(ctx, b.routed, id, &network.EndpointSettings{Aliases: []string{RouteAlias(id)}}); err != nil {
		return engineError(err, "join container %s to network %s", name, b.routed)
	}
	return nil
}

// moveRoutes sends the requests of the prefix to the containers of the new
// release, and to those that are kept.
func (a *applying) moveRoutes(ctx context.Context) error {
	ids := map[string]bool{}
	for _, s := range a.slots {
		switch {
		case s.kept:
			ids[s.old.id] = true
		case s.next != "":
			ids[s.next] = true
		}
	}
	return a.routeTo(ctx, a.dep.Prefix, func(o owned) bool { return ids[o.id] })
}

// drainRoutes waits for the requests that containers which end have under way.
func (a *applying) drainRoutes(ctx context.Context, ending []string, within time.Duration) {
	if a.options.Router == nil {
		return
	}
	left, err := a.options.Router.Drain(ctx, ending, within)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.story.Warn("", "the requests that the old containers still have could not be waited for: %v", err)
	case left > 0:
		a.story.Warn("", "requests cut off at the end of the drain time: %d", left)
	}
}

// routeTarget is what the engine's list says of a container.
func routeTarget(c container.Summary) RouteTarget {
	_, health := readStatus(c.Status)
	target := RouteTarget{
		ID: c.ID, Labels: c.Labels, Address: map[string]string{},
		Down: c.State != container.StateRunning, Unhealthy: health == container.Unhealthy,
	}
	if c.NetworkSettings != nil {
		for name, endpoint := range c.NetworkSettings.Networks {
			if endpoint != nil {
				target.Address[name] = endpoint.IPAddress
			}
		}
	}
	return target
}

const (
	// routesEvery is how often the routes are looked at though nothing was heard.
	routesEvery = 30 * time.Second
	// routesSettle gathers what is heard of containers.
	routesSettle = 300 * time.Millisecond
)

// RunRoutes keeps the routes of the node in step with its containers until ctx
// ends: as they restart, become unhealthy, or are stopped by hand.
func (d *Driver) RunRoutes(ctx context.Context) error {
	if d.options.Router == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(routesEvery)
	defer tick.Stop()
	for {
		err := d.SyncRoutes(ctx)
		if err == nil {
			err = d.options.Router.Tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			d.options.Logger.Warn("keep the routes in step with the containers", "error", err)
		}
		select {
		case <-tick.C:
		case <-d.heard:
			settled := time.NewTimer(routesSettle)
			select {
			case <-settled.C:
			case <-ctx.Done():
			}
			settled.Stop()
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// hear tells RunRoutes that something happened to a container.
func (d *Driver) hear() {
	select {
	case d.heard <- struct{}{}:
	default: // it knows already
	}
}

// SyncRoutes makes the routes of every prefix follow from the containers that
// serve it, as after a restart of the agent or of a container. A prefix that is
// being changed is left to whoever changes it.
func (d *Driver) SyncRoutes(ctx context.Context) error {
	if d.options.Router == nil {
		return nil
	}
	if err := d.reach(ctx); err != nil {
		return err
	}
	// The router may know of routes from before this agent started, so that
	// every prefix is looked at once.
	var only []filters.KeyValuePair
	prefixes := map[string]bool{}
	if d.routed.complete() {
		only = append(only, filters.Arg("label", LabelRoute))
		prefixes = d.routed.prefixes()
	}
	all, err := d.ownContainers(ctx, only...)
	if err != nil {
		return err
	}
	for _, c := range all {
		if o, ours := ownedBy(c); ours {
			prefixes[o.prefix] = true
		}
	}
	var failed []error
	for prefix := range prefixes {
		failed = append(failed, d.syncPrefix(ctx, prefix))
	}
	err = errors.Join(failed...)
	if err == nil {
		d.routed.finish()
	}
	return err
}

// routedPrefixes are the prefixes that have routes, once every prefix has been
// looked at. The zero value knows of none.
type routedPrefixes struct {
	mu   sync.Mutex
	all  bool
	have map[string]bool
}

func (r *routedPrefixes) complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

func (r *routedPrefixes) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = true
}

// prefixes returns a copy.
func (r *routedPrefixes) prefixes() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := map[string]bool{}
	maps.Copy(have, r.have)
	return have
}

// note tells what a prefix was routed to last.
func (r *routedPrefixes) note(prefix string, targets []RouteTarget) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have == nil {
		r.have = map[string]bool{}
	}
	delete(r.have, prefix)
	for _, t := range targets {
		if t.Labels[LabelRoute] != "" {
			r.have[prefix] = true
		}
	}
}

func (d *Driver) syncPrefix(ctx context.Context, prefix string) error {
	lock := d.changing.of(prefix)
	if !lock.TryLock() {
		return nil
	}
	defer lock.Unlock()
	return d.routeToServing(ctx, prefix)
}

// routeToServing sends the requests of a prefix to the containers that bear
// their workloads' names.
func (d *Driver) routeToServing(ctx context.Context, prefix string) error {
	return d.routeTo(ctx, prefix, func(o owned) bool { return o.place == placeServing })
}

// routeTo sends the requests of a prefix to those of its containers that pick
// picks.
func (d *Driver) routeTo(ctx context.Context, prefix string, pick func(owned) bool) error {
	if d.options.Router == nil {
		return nil
	}
	all, err := d.ownContainers(ctx, filters.Arg("label", labelNamespace+"="+prefix))
	if err != nil {
		return err
	}
	var targets []RouteTarget
	for _, c := range all {
		if o, ours := ownedBy(c); ours && pick(o) {
			target := routeTarget(c)
			target.Unhealthy = target.Unhealthy || d.liveness.verdictOf(c.ID) == container.Unhealthy
			targets = append(targets, target)
		}
	}
	if err := d.options.Router.Move(ctx, prefix, targets); err != nil {
		return err
	}
	d.routed.note(prefix, targets)
	return nil
}

func (d *Driver) ownContainers(ctx context.Context, more ...filters.KeyValuePair) ([]container.Summary, error) {
	all, err := d.engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(append(more, filters.Arg("label", labelManaged+"=true"))...),
	})
	if err != nil {
		return nil, engineError(err, "list the containers")
	}
	return all, nil
}

// holds keeps two from changing the routes of a prefix at once. Locks of
// prefixes that are gone stay: they are few and small.
type holds struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

// of returns the lock of a prefix.
func (h *holds) of(prefix string) *sync.Mutex {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.locks == nil {
		h.locks = map[string]*sync.Mutex{}
	}
	if h.locks[prefix] == nil {
		h.locks[prefix] = &sync.Mutex{}
	}
	return h.locks[prefix]
}
