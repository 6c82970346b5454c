package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/spec"
)

// The numbers of liveness probes are those of Kubernetes where a probe says
// nothing else.
const (
	// livenessPeriod is the time from one round of probes to the next.
	livenessPeriod = 10 * time.Second
	// livenessFailures is how many probes in a row make a container unhealthy.
	livenessFailures = 3
	// livenessGrace is how long a container that was started may take to answer
	// for the first time, before probes that fail count.
	livenessGrace = time.Minute
	// parallelLiveness is how many containers are asked at once.
	parallelLiveness = 8
)

// Liveness says how containers with a livenessProbe are watched. Zero values
// mean the defaults.
type Liveness struct {
	// Period is the time from one round of probes to the next; 10 s.
	Period time.Duration
	// Grace is how long a started container may take to answer for the first
	// time before probes that fail count; 60 s.
	Grace time.Duration
	// Restarts remembers restarts beyond the life of the agent; nil forgets them.
	Restarts RestartStore
}

// livenessLabel is what is to be asked of a running container, as it is on its
// label.
type livenessLabel struct {
	Port int32  `json:"port"`
	Path string `json:"path"`
}

// labelLivenessOf returns the label of a container with a livenessProbe, "" for
// others.
func labelLivenessOf(c spec.Container) string {
	h := c.HealthCheckConfig
	if h == nil || h.Port <= 0 || h.LivenessProbe == "" {
		return ""
	}
	text, _ := json.Marshal(livenessLabel{Port: h.Port, Path: h.LivenessProbe}) // a number and a string always can be
	return string(text)
}

// liveness is what probes have told of running containers, by engine id.
type liveness struct {
	mu    sync.Mutex
	known map[string]vitals
	// restarts is nil before it was loaded.
	restarts map[string]RestartRecord
	// judged has an entry when a verdict changed.
	judged chan struct{}
}

// vitals are those of one container.
type vitals struct {
	failures int
	answered time.Time // last; zero when never
	verdict  string    // as workload.Container.Health
}

// verdictOf returns what the probes say of a running container, "" when nobody
// has asked.
func (l *liveness) verdictOf(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[id].verdict
}

// RunLiveness asks running containers that have a livenessProbe whether they
// are alive, until ctx ends. One that fails three times in a row is unhealthy,
// which List tells, and is restarted, after pauses that grow.
func (d *Driver) RunLiveness(ctx context.Context) error {
	d.loadRestarts()
	tick := time.NewTicker(d.options.Liveness.Period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := d.probeLiveness(ctx); err != nil && ctx.Err() == nil {
			d.options.Logger.Debug("ask containers whether they are alive", "error", err)
		}
	}
}

// probeLiveness is one round.
func (d *Driver) probeLiveness(ctx context.Context) error {
	if err := d.reach(ctx); err != nil {
		return err
	}
	list, err := d.ownContainers(ctx, filters.Arg("label", labelLiveness), filters.Arg("status", container.StateRunning))
	if err != nil {
		return err
	}
	d.forgetLiveness(list)
	var group errgroup.Group
	group.SetLimit(parallelLiveness)
	for _, c := range list {
		o, ours := ownedBy(c)
		if !ours || o.place != placeServing {
			continue // who brings it up, or takes it away, asks it himself
		}
		var probe livenessLabel
		if err := json.Unmarshal([]byte(c.Labels[labelLiveness]), &probe); err != nil {
			continue
		}
		group.Go(func() error {
			asking, cancel := context.WithTimeout(ctx, networkTimeout)
			defer cancel()
			address := addressOfListed(c)
			if address == "" {
				return nil // it just ended, or has none by its configuration
			}
			n := networkProbe{key: "healthCheckConfig.livenessProbe", port: probe.Port, path: probe.Path}
			said, alive := n.ask(asking, address)
			if ctx.Err() != nil {
				return nil
			}
			if alive {
				d.isAlive(o)
				return nil
			}
			return d.isNotAlive(ctx, o, fmt.Sprintf("%s: %s", n, said))
		})
	}
	return group.Wait()
}

// forgetLiveness drops what is known of containers that do not run.
func (d *Driver) forgetLiveness(list []container.Summary) {
	running := make(map[string]bool, len(list))
	for _, c := range list {
		running[c.ID] = true
	}
	d.liveness.mu.Lock()
	defer d.liveness.mu.Unlock()
	for id := range d.liveness.known {
		if !running[id] {
			delete(d.liveness.known, id)
		}
	}
}

// isAlive notes a probe that succeeded.
func (d *Driver) isAlive(o owned) {
	now := d.options.Now()
	d.liveness.mu.Lock()
	v := d.liveness.known[o.id]
	was := v.verdict
	v.failures, v.answered, v.verdict = 0, now, container.Healthy
	d.liveness.remember(o.id, v)
	r, restarted := d.liveness.restarts[o.id]
	forgiven := restarted && now.Sub(r.Last) > restartForgiven
	if forgiven {
		delete(d.liveness.restarts, o.id)
	}
	d.liveness.mu.Unlock()
	if was == container.Unhealthy {
		d.options.Logger.Info("a container answers its liveness probe again", "container", o.engineName)
	}
	if was != container.Healthy {
		d.tellVerdict()
	}
	if forgiven {
		d.saveRestarts()
	}
}

// remember keeps what is known of a container; l.mu is held.
func (l *liveness) remember(id string, v vitals) {
	if l.known == nil {
		l.known = map[string]vitals{}
	}
	l.known[id] = v
}

// isNotAlive notes a probe that failed, and restarts the container when it is
// time to.
func (d *Driver) isNotAlive(ctx context.Context, o owned, said string) error {
	seen, err := d.engine.ContainerInspect(ctx, o.id)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return engineError(err, "look at container %s", o.engineName)
	}
	if !seen.State.Running {
		return nil
	}
	now, started := d.options.Now(), readTime(seen.State.StartedAt)
	d.liveness.mu.Lock()
	v := d.liveness.known[o.id]
	if v.answered.Before(started) && now.Sub(started) < d.options.Liveness.Grace {
		v.failures = 0 // it is starting
		d.liveness.remember(o.id, v)
		d.liveness.mu.Unlock()
		return nil
	}
	v.failures++
	was := v.verdict
	if v.failures >= livenessFailures {
		v.verdict = container.Unhealthy
	}
	d.liveness.remember(o.id, v)
	due := v.failures >= livenessFailures && !now.Before(d.liveness.restarts[o.id].due())
	d.liveness.mu.Unlock()
	if v.verdict == container.Unhealthy && was != container.Unhealthy {
		d.options.Logger.Warn("a container does not answer its liveness probe", "container", o.engineName, "probe", said)
		d.tellVerdict()
	}
	if !due {
		return nil
	}
	return d.revive(ctx, o, said)
}

// tellVerdict wakes Watch and RunRoutes.
func (d *Driver) tellVerdict() {
	select {
	case d.liveness.judged <- struct{}{}:
	default: // it knows already
	}
	d.hear()
}

// addressOfListed is where a listed container can be reached from the host; ""
// when nowhere.
func addressOfListed(c container.Summary) string {
	if c.HostConfig.NetworkMode == "host" {
		return "127.0.0.1"
	}
	if c.NetworkSettings == nil {
		return ""
	}
	if e := c.NetworkSettings.Networks[c.HostConfig.NetworkMode]; e != nil && e.IPAddress != "" {
		return e.IPAddress
	}
	for _, e := range c.NetworkSettings.Networks {
		if e != nil && e.IPAddress != "" {
			return e.IPAddress
		}
	}
	return ""
}
