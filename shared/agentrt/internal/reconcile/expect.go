package reconcile

import (
	"context"
	"maps"
	"slices"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// expect fails before anything is touched when a target is to be applied by
// one plan only and the engine is not any more as it was when that was made.
// Once the target was begun its own work has changed the engine, so that is
// remembered over restarts, and it is finished whatever a plan would say.
func (r *Reconciler) expect(ctx context.Context, t Target) error {
	if t.ExpectedPlan == "" || r.hasBegun(t) {
		return nil
	}
	plan, err := r.config.Driver.Plan(ctx, *t.Deployment)
	if apperr.Is(err, apperr.Unavailable) || ctx.Err() != nil {
		return err
	}
	if err == nil && plan.Hash() != t.ExpectedPlan {
		err = apperr.New(apperr.Precondition, "the plan is stale: what is on the node has changed since it was made, so nothing was touched; "+
			"look at a new plan and start again").WithReason("stale-plan")
	}
	if err != nil {
		return &workload.Failure{Step: workload.StepPlan, RolledBack: r.serves(t.Prefix), Err: err}
	}
	return r.markBegun(t)
}

func (r *Reconciler) hasBegun(t Target) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	generation, known := r.begun[t.Prefix]
	return known && generation == t.Generation
}

// markBegun notes that a target is begun with.
func (r *Reconciler) markBegun(t Target) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(r.begun)
	next[t.Prefix] = t.Generation
	if err := r.config.StoreBegun(next); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "note that the release was begun: check the state folder")
	}
	r.begun = next
	return nil
}

// endBegun forgets that a target was begun, which has ended; r.mu is held.
func (r *Reconciler) endBegun(t Target) {
	if _, known := r.begun[t.Prefix]; !known {
		return
	}
	delete(r.begun, t.Prefix)
	if err := r.config.StoreBegun(r.begun); err != nil {
		// Harmless: the generation does not come again.
		r.log(t).Warn("an old note stays in the state folder", "error", err)
	}
}

// forgetBegun forgets every note: its generation was counted in another
// database; r.mu is held.
func (r *Reconciler) forgetBegun() {
	if len(r.begun) == 0 {
		return
	}
	r.begun = map[string]uint64{}
	if err := r.config.StoreBegun(r.begun); err != nil {
		r.config.Log.Warn("old notes stay in the state folder", "error", err)
	}
}

// noteDigest keeps what an image of a target stands for.
func (r *Reconciler) noteDigest(t Target, e workload.Event) {
	if e.Digest == "" || e.InstanceID == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.loops[t.Prefix]
	if l == nil || l.want.Generation != t.Generation {
		return
	}
	if l.digests == nil {
		l.digests = map[string]string{}
	}
	l.digests[e.InstanceID] = e.Digest
}

// resolved returns digests in the order of their instances.
func resolved(digests map[string]string) []*agentv1.ResolvedImage {
	var list []*agentv1.ResolvedImage
	for _, instance := range slices.Sorted(maps.Keys(digests)) {
		list = append(list, &agentv1.ResolvedImage{InstanceId: instance, Digest: digests[instance]})
	}
	return list
}
