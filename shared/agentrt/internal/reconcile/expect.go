package reconcile

import (
	"cmp"
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

// imageRef names an image of a target: the main one of an instance, or, with a
// reference, another one that it needs.
type imageRef struct{ instance, reference string }

// noteDigest keeps what images of a target stand for.
func (r *Reconciler) noteDigest(t Target, e workload.Event) {
	if e.Digest == "" && len(e.OtherDigests) == 0 || e.InstanceID == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.loops[t.Prefix]
	if l == nil || l.want.Generation != t.Generation {
		return
	}
	if l.digests == nil {
		l.digests = map[imageRef]string{}
	}
	if e.Digest != "" {
		l.digests[imageRef{instance: e.InstanceID}] = e.Digest
	}
	for reference, digest := range e.OtherDigests {
		l.digests[imageRef{e.InstanceID, reference}] = digest
	}
}

// resolved returns digests in the order of their instances, and apart from
// them those of other images than an instance's main one.
func resolved(digests map[imageRef]string) (main, other []*agentv1.ResolvedImage) {
	order := func(a, b imageRef) int {
		return cmp.Or(cmp.Compare(a.instance, b.instance), cmp.Compare(a.reference, b.reference))
	}
	for _, image := range slices.SortedFunc(maps.Keys(digests), order) {
		one := &agentv1.ResolvedImage{InstanceId: image.instance, Digest: digests[image], Reference: image.reference}
		if image.reference == "" {
			main = append(main, one)
		} else {
			other = append(other, one)
		}
	}
	return main, other
}
