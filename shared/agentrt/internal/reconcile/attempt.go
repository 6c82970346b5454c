package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

const (
	retryBase = time.Second
	retryCap  = time.Minute
)

// attempt works on a target until it is finished one way or the other, waiting
// for an engine that is away. It returns nil when ctx ended first.
func (r *Reconciler) attempt(ctx context.Context, t Target) *agentv1.DeploymentStatus {
	pauses := backoff.New(backoff.Policy{Base: retryBase, Cap: retryCap}, r.config.Random)
	for {
		err := r.once(ctx, t)
		if ctx.Err() != nil && err != nil {
			return nil
		}
		if !apperr.Is(err, apperr.Unavailable) {
			return r.end(t, err)
		}
		pause := pauses.Next()
		r.log(t).Warn("waiting to try again", "error", err, "pause", pause)
		r.tell(t, workload.Event{
			Level: workload.LevelWarn, State: spec.StateWaiting, Reason: "unavailable",
			Lines: []string{fmt.Sprintf("waiting to try again: %v", err)},
		})
		if !backoff.Sleep(ctx, pause) {
			return nil
		}
	}
}

// once makes one call of the driver when there is a slot for it.
func (r *Reconciler) once(ctx context.Context, t Target) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	}
	r.config.Outbox.Status(statusOf(t, workload.PhaseInProgress, nil))
	reporter := workload.ReporterFunc(func(e workload.Event) { r.tell(t, e) })
	if t.Deployment == nil && t.Err == nil {
		return guard(r.log(t), func() error { return r.config.Driver.Remove(ctx, t.Prefix, reporter) })
	}
	return guard(r.log(t), func() error {
		if err := r.check(t); err != nil {
			return &workload.Failure{Step: workload.StepCheck, RolledBack: r.serves(t.Prefix), Err: err}
		}
		if err := r.expect(ctx, t); err != nil {
			return err
		}
		opened, err := r.open(*t.Deployment)
		if err != nil {
			return &workload.Failure{Step: workload.StepCheck, RolledBack: r.serves(t.Prefix), Err: err}
		}
		return r.config.Driver.Apply(ctx, opened, reporter)
	})
}

// check refuses what could not be read, breaks a rule of the spec or is beyond
// this driver, before anything on the node is touched.
func (r *Reconciler) check(t Target) error {
	if t.Err != nil {
		return t.Err
	}
	if t.Deployment.Prefix != t.Prefix {
		return apperr.InvalidField("prefix", t.Deployment.Prefix, "the deployment is assigned to the prefix %q", t.Prefix)
	}
	if err := spec.Validate(*t.Deployment).Err(); err != nil {
		return err
	}
	return r.config.Driver.Check(*t.Deployment)
}

// serves reports whether an earlier release runs under the prefix, as far as
// this agent knows.
func (r *Reconciler) serves(prefix string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.results[prefix]
	return last.GetPhase() == agentv1.Phase_PHASE_SUCCESSFUL || last.GetFailure().GetRolledBack()
}

// end turns the outcome of an attempt into its final status.
func (r *Reconciler) end(t Target, err error) *agentv1.DeploymentStatus {
	if err == nil {
		phase := workload.PhaseSuccessful
		if t.Deployment == nil {
			phase = workload.PhaseRemoved
		}
		r.log(t).Info("finished", "phase", phase)
		return statusOf(t, phase, nil)
	}
	var failure *workload.Failure
	if !errors.As(err, &failure) {
		failure = &workload.Failure{Step: workload.StepCreate, Err: err}
		if t.Deployment == nil {
			failure.Step = workload.StepRemove
		}
	}
	r.log(t).Error("the deployment failed", "error", err)
	return statusOf(t, workload.PhaseFailed, failure)
}

func (r *Reconciler) tell(t Target, e workload.Event) {
	if e.Time.IsZero() {
		e.Time = r.config.Now()
	}
	r.noteDigest(t, e)
	r.config.Outbox.Event(specpb.EventToProto(t.DeploymentID, t.Generation, t.Release, e))
}

func (r *Reconciler) log(t Target) *slog.Logger {
	return r.config.Log.With(
		logging.KeyDeployment, t.DeploymentID, "prefix", t.Prefix,
		logging.KeyGeneration, t.Generation, logging.KeyRelease, t.Release,
	)
}

func statusOf(t Target, phase workload.Phase, failure *workload.Failure) *agentv1.DeploymentStatus {
	return &agentv1.DeploymentStatus{
		DeploymentId: t.DeploymentID,
		Generation:   t.Generation,
		Release:      t.Release,
		Phase:        specpb.PhaseToProto(phase),
		Failure:      specpb.FailureToProto(failure),
	}
}

// guard turns a panic in a driver into an error: one deployment that brings it
// down must not take the others, and the agent, with it for ever.
func guard(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("the driver panicked", "panic", p, "stack", string(debug.Stack()))
			err = apperr.New(apperr.Internal, "the agent's driver panicked: %v", p)
		}
	}()
	return f()
}
