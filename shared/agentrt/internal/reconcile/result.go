package reconcile

import (
	"context"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/workload"
)

// finish keeps the end of an attempt before it tells it; nil means that the
// attempt was ended from outside and there is nothing to tell. While the end
// cannot be stored the target is not finished: were it told, a person could stop
// a container that an agent, which restarts and knows nothing of the end, would
// start again.
func (r *Reconciler) finish(attempt context.Context, l *loop, t Target, order uint64, end *agentv1.DeploymentStatus) {
	pauses := backoff.New(backoff.Policy{Base: retryBase, Cap: retryCap}, r.config.Random)
	for end != nil {
		err := r.keep(l, t, order, end)
		if err == nil {
			break
		}
		pause := pauses.Next()
		r.log(t).Error("the result is not on disk: check the state folder", "error", err, "pause", pause)
		r.tell(t, workload.Event{Level: workload.LevelWarn, Lines: []string{
			fmt.Sprintf("the work is done, but its result cannot be written to the agent's state folder, so it does not count yet: %v", err),
		}})
		if !backoff.Sleep(attempt, pause) {
			break // something newer is wanted, or the agent stops and does it again
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l.cancel()
	l.cancel = nil
}

// keep stores the end of an attempt and then tells it.
func (r *Reconciler) keep(l *loop, t Target, order uint64, end *agentv1.DeploymentStatus) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.order != order && l.want.Generation <= t.Generation || l.restart {
		end = forgetful(end) // its generation was counted in another database
	}
	if l.order == order { // else the digests are of what is wanted by now
		end.Images, end.OtherImages = resolved(l.digests)
	}
	results := maps.Clone(r.results)
	results[t.Prefix] = end
	if err := r.config.Store(results); err != nil {
		return err
	}
	r.results = results
	r.endBegun(t)
	if l.order == order { // else nobody waits for it any more
		l.rest()
		if !l.restart {
			r.config.Outbox.Status(end)
		}
	}
	return nil
}

// Restart is for a set that comes from another database, whose generations
// count anew: whatever Set is told next of a prefix is newer than what was
// known of it. It fails when that cannot be stored.
func (r *Reconciler) Restart() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make(map[string]*agentv1.DeploymentStatus, len(r.results))
	for prefix, end := range r.results {
		results[prefix] = forgetful(end)
	}
	if err := r.config.Store(results); err != nil {
		return fmt.Errorf("begin with another database's assignments: %w", err)
	}
	r.results = results
	r.forgetBegun()
	for _, l := range r.loops {
		l.restart = true
	}
	r.config.Outbox.Restart()
	return nil
}

// forgetful returns an end that is older than any generation: it still tells
// whether a release serves.
func forgetful(end *agentv1.DeploymentStatus) *agentv1.DeploymentStatus {
	end = proto.CloneOf(end)
	end.Generation = 0
	return end
}

// Forget drops the results of prefixes that keep does not name.
func (r *Reconciler) Forget(keep map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix := range r.results {
		if l := r.loops[prefix]; !keep[prefix] && (l == nil || !l.running) {
			delete(r.results, prefix)
			delete(r.loops, prefix)
		}
	}
}
