package deployment

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Reasons of conflicts, stable words that clients of the team API act on.
const (
	ReasonRollingVersion = "rollingVersionDeployment"
	ReasonPreparing      = "alreadyHavePreparing"
)

// Draft is what a person says of a new deployment.
type Draft struct {
	VersionID uuid.UUID
	NodeID    uuid.UUID
	Prefix    string
	Note      string
}

// Create places a version on a node, with an instance for each of its images.
// Errors: Invalid, NotFound, Precondition for a version without images, and
// Conflict when the prefix is taken (see placeable).
func (s *Service) Create(ctx context.Context, draft Draft) (Deployment, error) {
	d, err := s.draw(ctx, draft)
	if err != nil {
		return Deployment{}, err
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		source, err := s.place(ctx, &d, draft)
		if err != nil {
			return err
		}
		if err := s.Store.InsertDeployment(ctx, d, source.ImageIDs); err != nil {
			return err
		}
		if err := s.carrySecrets(ctx, d); err != nil {
			return err
		}
		if err := s.Audit.Record(ctx, authz.DeploymentCreate, map[string]any{
			"id": d.ID, "versionId": d.Version.ID, "nodeId": d.Node.ID, "prefix": d.Prefix,
		}); err != nil {
			return err
		}
		return s.tellCreated(ctx, d)
	})
	return d, err
}

// carrySecrets enters in a new deployment what was entered in the newest other
// one of its version at its place. What was successful of an incremental version
// can't be changed, so another is made in its stead; the node is the same, and
// can still open the values.
func (s *Service) carrySecrets(ctx context.Context, d Deployment) error {
	there, err := s.Store.ListPlaced(ctx, d.Node.ID, d.Prefix)
	if err != nil {
		return err
	}
	for _, earlier := range slices.Backward(there) {
		if earlier.ID == d.ID || earlier.Version.ID != d.Version.ID {
			continue
		}
		return s.copySaid(ctx, earlier, d, func(said spec.Container) spec.Container {
			return spec.Container{Secrets: said.Secrets}
		})
	}
	return nil
}

// draw makes a deployment of a draft, which has no place yet.
func (s *Service) draw(ctx context.Context, draft Draft) (Deployment, error) {
	team, who, err := authz.Require(ctx, authz.DeploymentCreate)
	if err != nil {
		return Deployment{}, err
	}
	if err := spec.ValidatePrefix(draft.Prefix).Err(); err != nil {
		return Deployment{}, err
	}
	if err := validateNote(draft.Note); err != nil {
		return Deployment{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Deployment{}, err
	}
	now := s.Now()
	return Deployment{
		ID: id, TeamID: team.ID, Prefix: draft.Prefix, Note: draft.Note, State: Preparing,
		Policy:    spec.Policy{OnFailure: spec.OnFailureRollback},
		CreatedAt: now, CreatedBy: who.Ref(), UpdatedAt: now, UpdatedBy: who.Ref(),
	}, nil
}

// place fills in where a deployment goes and what it is made of, and holds the
// place until the transaction ends.
func (s *Service) place(ctx context.Context, d *Deployment, draft Draft) (Source, error) {
	target, err := s.Store.FindTarget(ctx, d.TeamID, draft.NodeID)
	if apperr.Is(err, apperr.NotFound) {
		return Source{}, apperr.New(apperr.NotFound, "no such node").WithField("nodeId", draft.NodeID)
	}
	if err != nil {
		return Source{}, err
	}
	if err := s.Store.LockTarget(ctx, target.ID); err != nil {
		return Source{}, err
	}
	source, err := s.Store.LockSource(ctx, d.TeamID, draft.VersionID)
	if apperr.Is(err, apperr.NotFound) {
		return Source{}, apperr.New(apperr.NotFound, "no such version").WithField("versionId", draft.VersionID)
	}
	if err != nil {
		return Source{}, err
	}
	if len(source.ImageIDs) == 0 {
		return Source{}, apperr.New(apperr.Precondition, "the version has no images; add one first").
			WithField("versionId", draft.VersionID)
	}
	d.Node, d.Version, d.Project = target, source.Version, source.Project
	there, err := s.Store.ListPlaced(ctx, target.ID, d.Prefix)
	if err != nil {
		return Source{}, err
	}
	return source, d.placeable(there)
}

// placeable returns a Conflict when the deployment can't stand beside those
// that have its node and prefix. A prefix of a node belongs to one project,
// since one release after another takes it over. Below that, a rolling version
// has one deployment there, an incremental one at most one that is preparing.
func (d Deployment) placeable(there []Deployment) error {
	for _, other := range there {
		sameVersion := other.Version.ID == d.Version.ID
		switch {
		case other.ID == d.ID:
		case other.Project.ID != d.Project.ID:
			return apperr.New(apperr.Conflict, "another project holds this prefix on the node; choose another prefix").
				WithField("prefix", d.Prefix)
		case sameVersion && d.Version.Type == rolling:
			return apperr.New(apperr.Conflict, "the rolling version has a deployment on this node and prefix already").
				WithField("prefix", other.ID).WithReason(ReasonRollingVersion)
		case sameVersion && d.State == Preparing && other.State == Preparing:
			return apperr.New(apperr.Conflict, "the version has a deployment in preparation on this node and prefix already").
				WithField("prefix", other.ID).WithReason(ReasonPreparing)
		}
	}
	return nil
}
