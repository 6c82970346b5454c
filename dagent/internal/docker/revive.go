package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
)

const (
	// restartPause is between the first two restarts of a container; it doubles
	// with each, up to maxRestartPause. A container that was well for
	// restartForgiven begins anew.
	restartPause    = 10 * time.Second
	maxRestartPause = 5 * time.Minute
	restartForgiven = 10 * time.Minute
)

// RestartStore keeps what is known of restarts over those of the agent.
type RestartStore interface {
	Load() (map[string]RestartRecord, error)
	Save(restarts map[string]RestartRecord) error
}

// RestartRecord is how often a container was restarted for its liveness probe
// without being well in between, and when last.
type RestartRecord struct {
	Count int       `json:"count"`
	Last  time.Time `json:"last"`
}

// due is when the next restart may be.
func (r RestartRecord) due() time.Time {
	if r.Count == 0 {
		return time.Time{}
	}
	pause := restartPause
	for range r.Count - 1 {
		pause = min(2*pause, maxRestartPause)
	}
	return r.Last.Add(pause)
}

func (d *Driver) loadRestarts() {
	restarts := map[string]RestartRecord{}
	if store := d.options.Liveness.Restarts; store != nil {
		loaded, err := store.Load()
		if err != nil {
			d.options.Logger.Warn("read when containers were restarted; pauses between restarts begin anew", "error", err)
		}
		for id, r := range loaded {
			restarts[id] = r
		}
	}
	d.liveness.mu.Lock()
	defer d.liveness.mu.Unlock()
	d.liveness.restarts = restarts
}

// revive restarts a container that is not alive, unless its prefix is being
// changed: then it is another's to decide.
func (d *Driver) revive(ctx context.Context, o owned, said string) error {
	lock := d.changing.of(o.prefix)
	if !lock.TryLock() {
		return nil
	}
	defer lock.Unlock()
	found, err := d.ownedOf(ctx, o.prefix)
	if err != nil {
		return err
	}
	for _, now := range found {
		if now.id != o.id || now.place != placeServing || !now.running() {
			continue
		}
		d.liveness.mu.Lock()
		r := d.liveness.restarts[o.id]
		r.Count, r.Last = r.Count+1, d.options.Now()
		if d.liveness.restarts == nil {
			d.liveness.restarts = map[string]RestartRecord{}
		}
		d.liveness.restarts[o.id] = r
		v := d.liveness.known[o.id]
		v.failures = 0
		d.liveness.remember(o.id, v)
		d.liveness.mu.Unlock()
		// Before the act: an agent that is killed over it does not restart at once.
		d.saveRestarts()
		d.options.Logger.Warn("restarting a container that does not answer its liveness probe",
			"container", o.engineName, "restarts", r.Count, "probe", said)
		grace := int(d.options.StopGrace / time.Second)
		if err := d.engine.ContainerRestart(ctx, o.id, container.StopOptions{Timeout: &grace}); err != nil {
			return engineError(err, "restart container %s, which does not answer its liveness probe", o.engineName)
		}
	}
	return nil
}

// saveRestarts writes the restarts down, but for those that count no more.
func (d *Driver) saveRestarts() {
	store := d.options.Liveness.Restarts
	if store == nil {
		return
	}
	d.liveness.mu.Lock()
	defer d.liveness.mu.Unlock()
	now := d.options.Now()
	for id, r := range d.liveness.restarts {
		if now.Sub(r.Last) > restartForgiven+maxRestartPause {
			delete(d.liveness.restarts, id)
		}
	}
	if err := store.Save(d.liveness.restarts); err != nil {
		d.options.Logger.Warn("note that a container was restarted", "error", err)
	}
}
