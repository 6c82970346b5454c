package deployment

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Limits on what one node is asked to run. The agent protocol carries a node's
// whole set in one message of 16 MiB with at most 2000 assignments; some of it
// is left to credentials.
const (
	maxSetBytes       = 12 << 20
	maxSetAssignments = 2000
)

// Start freezes a deployment as it is now into its next release, and makes that
// what its node should run. It returns the release's number and does not wait
// for the node, which may be away: the release is delivered when it returns.
//
// With instances, only those are rendered anew; the others keep what the
// prefix's present release has of them. Nil means all instances.
//
// Starting over a release in progress is allowed: what is wanted last counts,
// the earlier release is superseded, and the agent drops its work on it. So
// nothing is ever stuck in progress.
//
// Errors: NotFound; Precondition for a state that can't be started, for no
// instances, for required secrets without a value, for a node that is full, for
// what would run a held release again, and for a release that removes many
// workloads without a confirmation; Invalid when what was rendered is not a
// valid spec, naming the field.
func (s *Service) Start(ctx context.Context, id uuid.UUID, instances []uuid.UUID) (int64, error) {
	return s.StartWith(ctx, id, StartOptions{Instances: instances})
}

// StartOptions are the choices of a start.
type StartOptions struct {
	// Instances are those to be rendered anew; nil means all.
	Instances []uuid.UUID
	// Adopt are containers that run on the node already and become those of
	// instances as they are.
	Adopt []Adoption
	// ConfirmRemoval says that the release may remove any number of the node's
	// workloads.
	ConfirmRemoval bool
	// Plan is the hash of the plan by which the release may be applied and no
	// other; "" for any. Nothing is started when the configuration has changed
	// since, and the release fails before it touches anything when the node has.
	Plan string
}

// StartWith is Start with all choices.
func (s *Service) StartWith(ctx context.Context, id uuid.UUID, o StartOptions) (int64, error) {
	number, err := s.startWith(ctx, id, o, nil)
	var unresolved *tagsUnresolvedError
	if errors.As(err, &unresolved) {
		return s.startWith(ctx, id, o, s.resolve(ctx, unresolved.workloads))
	}
	return number, err
}

func (s *Service) startWith(ctx context.Context, id uuid.UUID, o StartOptions, resolved map[string]string) (int64, error) {
	var number int64
	err := s.Store.InTx(ctx, func(ctx context.Context) error {
		_, who, err := authz.RequireOn(ctx, authz.DeploymentStart, id)
		if err != nil {
			return err
		}
		d, err := s.lock(ctx, authz.DeploymentStart, id)
		if err != nil {
			return err
		}
		if !d.Startable() {
			return wrongState(d, "started")
		}
		now, err := s.assigned(ctx, d)
		if err != nil {
			return err
		}
		rendered, err := s.render(ctx, d, now, o.Instances)
		if err != nil {
			return err
		}
		if err := s.adopt(ctx, who, d, &rendered, o.Adopt); err != nil {
			return err
		}
		if err := s.checkHeld(ctx, d, rendered, resolved); err != nil {
			return err
		}
		if !o.ConfirmRemoval {
			if err := s.checkRemoval(ctx, d, now, rendered); err != nil {
				return err
			}
		}
		r := made(who)
		if o.Plan != "" {
			if r.Plan, err = s.byPlan(ctx, d, rendered, o.Plan); err != nil {
				return err
			}
		}
		number, err = s.assign(ctx, d, now, r, rendered, o.ConfirmRemoval)
		if err != nil {
			return err
		}
		data := map[string]any{"id": d.ID, "nodeId": d.Node.ID, "prefix": d.Prefix, "release": number}
		var adopted []map[string]any
		if o.ConfirmRemoval {
			data["confirmRemoval"] = true
		}
		if o.Plan != "" {
			data["plan"] = o.Plan
		}
		for _, a := range o.Adopt {
			adopted = append(adopted, map[string]any{"instanceId": a.InstanceID, "container": a.Container})
		}
		if len(adopted) > 0 {
			data["adopt"] = adopted
		}
		return s.Audit.Record(ctx, authz.DeploymentStart, data)
	})
	return number, err
}

// assign stores the content as the deployment's next release, of which r tells
// who makes it and why, moves the prefix to it at the node's next generation,
// and supersedes what was under way there: earlier is what the prefix was
// assigned. Confirmed tells that it may remove any number of workloads. It
// returns the release's number.
func (s *Service) assign(ctx context.Context, d Deployment, earlier Assignment, r Release, content spec.Deployment, confirmed bool) (int64, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return 0, err
	}
	if err := s.checkHooks(ctx, d, content); err != nil {
		return 0, err
	}
	if err := s.supersede(ctx, d, earlier); err != nil {
		return 0, err
	}
	now := s.Now()
	d.Tries++
	d.UpdatedAt, d.UpdatedBy = now, r.CreatedBy
	content.Release = d.Tries
	r.ID, r.DeploymentID, r.Number, r.CreatedAt, r.Outcome = id, d.ID, d.Tries, now, OutcomePending
	r.Spec, r.ConfigHash = content, configHash(content)
	if err := s.Store.InsertRelease(ctx, r); err != nil {
		return 0, err
	}
	generation, err := s.Store.RaiseGeneration(ctx, d.Node.ID)
	if err != nil {
		return 0, err
	}
	a := Assignment{Prefix: d.Prefix, Generation: generation, DeploymentID: d.ID, ReleaseID: id, RemovalConfirmed: confirmed}
	if err := s.Store.PutAssignment(ctx, d.Node.ID, a, now); err != nil {
		return 0, err
	}
	if err := s.roomFor(ctx, d); err != nil {
		return 0, err
	}
	if err := s.Store.UpdateDeployment(ctx, d); err != nil {
		return 0, err
	}
	return r.Number, s.become(ctx, d, InProgress)
}

// supersede ends what is under way on the deployment's node and prefix, which is
// assigned a.
func (s *Service) supersede(ctx context.Context, d Deployment, a Assignment) error {
	if a.Deployment == nil {
		return nil
	}
	r, err := s.Store.FindRelease(ctx, a.ReleaseID)
	if err != nil || r.Outcome.Final() {
		return err
	}
	if err := s.Store.SetOutcome(ctx, r.ID, Ending{Outcome: OutcomeSuperseded, At: s.Now()}); err != nil {
		return err
	}
	if a.DeploymentID == d.ID {
		return nil
	}
	// Another deployment was starting here and will never hear how that ended.
	other, err := s.Store.LockDeployment(ctx, a.DeploymentID)
	if err != nil || other.State != InProgress {
		return err
	}
	descendants, err := s.Store.ListDescendants(ctx, d.Version.ID)
	if err != nil {
		return err
	}
	return s.become(ctx, other, other.displacedBy(descendants), LogEntry{
		DeploymentID: other.ID, Release: other.Tries, Type: EntryLog, Level: workload.LevelWarn, At: s.Now(),
		Lines: []string{"another deployment was started under the prefix before this release had ended"},
	})
}

// roomFor refuses a start that makes a node's set too large to be sent.
func (s *Service) roomFor(ctx context.Context, d Deployment) error {
	count, bytes, err := s.Store.MeasureSet(ctx, d.Node.ID)
	if err != nil {
		return err
	}
	if count > maxSetAssignments || bytes > maxSetBytes {
		return apperr.New(apperr.Precondition,
			"with this the node would have to run %d deployments of together %d bytes; at most %d and %d are possible",
			count, bytes, maxSetAssignments, maxSetBytes).WithField("nodeId", d.Node.ID)
	}
	return nil
}

// chosen returns the instances to be rendered anew.
func chosen(all []Instance, ids []uuid.UUID) ([]Instance, error) {
	if ids == nil {
		return all, nil
	}
	var list []Instance
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(i Instance) bool { return i.ID == id }) {
			return nil, apperr.New(apperr.NotFound, "no such instance in this deployment").WithField("instances", id)
		}
	}
	for _, i := range all {
		if slices.Contains(ids, i.ID) {
			list = append(list, i)
		}
	}
	return list, nil
}
