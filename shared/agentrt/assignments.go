package agentrt

import (
	"errors"
	"log/slog"
	"sync"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/reconcile"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/specpb"
)

// assignments is the set the node should run. The set is on the disk; here is
// only what must be at hand. One goroutine at a time takes sets: a session
// reads its stream alone, and sessions follow each other. Whoever asks what is
// held may be another.
type assignments struct {
	dir        *state.Dir
	reconciler *reconcile.Reconciler
	// changed is signalled after a set was taken.
	changed chan struct{}

	mu      sync.Mutex
	outline *agentv1.AssignmentSet
}

// resume reads the set from the disk and hands it out, so that the node is
// made right whether or not the controller can be reached. A set that cannot be
// read is put aside: the controller is asked for it, and until then nothing
// that runs is touched.
func resume(dir *state.Dir, reconciler *reconcile.Reconciler, log *slog.Logger) (*assignments, error) {
	set, err := dir.Assignments()
	if err == nil && set.GetLineage() != "" && specpb.SetHash(set) != set.GetSetHash() {
		err = apperr.New(apperr.Invalid, "it does not have its hash")
	}
	if apperr.Is(err, apperr.Invalid) {
		log.Error("the assignments on disk cannot be used and are put aside; the controller will be asked for them", logging.KeyError, err)
		set, err = &agentv1.AssignmentSet{}, dir.DropAssignments()
	}
	if err != nil {
		return nil, err
	}
	reconciler.Set(targets(set.GetAssignments()))
	return &assignments{dir: dir, reconciler: reconciler, changed: make(chan struct{}, 1), outline: specpb.OutlineSet(set)}, nil
}

// held returns an outline of the set. It must not be changed.
func (a *assignments) held() *agentv1.AssignmentSet {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.outline
}

// generation is of the set.
func (a *assignments) generation() uint64 { return a.held().GetGeneration() }

// prefixes returns those that the set names. What runs under another prefix is
// left over.
func (a *assignments) prefixes() map[string]bool {
	named := map[string]bool{}
	for _, one := range a.held().GetAssignments() {
		named[one.GetPrefix()] = true
	}
	return named
}

// take checks a set, writes it to the disk, hands it out, and returns the
// answer. A set that is refused changes nothing.
func (a *assignments) take(received *agentv1.AssignmentSet) *agentv1.AssignmentsAck {
	ack := &agentv1.AssignmentsAck{Generation: received.GetGeneration(), SetHash: received.GetSetHash()}
	held := a.held()
	base := held
	var err error
	if received.GetBaseGeneration() != 0 {
		if base, err = a.dir.Assignments(); err != nil { // asks for a set that needs no base
			ack.Refusal, ack.Detail = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE, err.Error()
			return ack
		}
	}
	next, err := specpb.ApplySet(base, received)
	var refusal *specpb.SetRefusal
	switch {
	case errors.As(err, &refusal):
		ack.Refusal, ack.Detail = refusal.Reason, refusal.Detail
		return ack
	case next == base && base.GetSetHash() == held.GetSetHash():
		return ack // the same again: it is on the disk already
	}
	if err := a.keep(held, next); err != nil {
		ack.Refusal, ack.Detail = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STORAGE, err.Error()
		return ack
	}
	a.mu.Lock()
	a.outline = specpb.OutlineSet(next)
	a.mu.Unlock()
	a.reconciler.Forget(a.prefixes())
	a.reconciler.Set(targets(next.GetAssignments()))
	select {
	case a.changed <- struct{}{}:
	default:
	}
	return ack
}

// keep writes the next set to the disk. When it is another database's, what is
// known of the generations of this one goes first: after a crash in between,
// work is looked at again that was finished, and changes nothing.
func (a *assignments) keep(held, next *agentv1.AssignmentSet) error {
	if held.GetLineage() != "" && held.GetLineage() != next.GetLineage() {
		if err := a.reconciler.Restart(); err != nil {
			return err
		}
	}
	return a.dir.SetAssignments(next)
}

// targets returns what each prefix should run. A deployment that cannot be read
// becomes a target that fails: it must not stand in the way of the others.
func targets(assigned []*agentv1.Assignment) []reconcile.Target {
	var list []reconcile.Target
	for _, a := range assigned {
		t := reconcile.Target{Prefix: a.GetPrefix(), Generation: a.GetGeneration(), ExpectedPlan: a.GetExpectedPlan()}
		switch desired := a.GetDesired().(type) {
		case *agentv1.Assignment_Deployment:
			t.DeploymentID, t.Release = desired.Deployment.GetId(), desired.Deployment.GetRelease()
			if d, err := specpb.DeploymentFromProto(desired.Deployment); err != nil {
				t.Err = err
			} else {
				t.Deployment = &d
			}
		case *agentv1.Assignment_Tombstone:
			t.DeploymentID = desired.Tombstone.GetDeploymentId()
		default:
			t.Err = apperr.New(apperr.Unsupported, "this agent does not know what is asked for the prefix %q; update it", a.GetPrefix())
		}
		list = append(list, t)
	}
	return list
}
