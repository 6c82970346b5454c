package deployment

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// ReasonDigestsUnknown is the reason of an error about a release of which is
// not known what its images were.
const ReasonDigestsUnknown = "digests-unknown"

// Rollback makes a new release whose content is that of an earlier one, with
// every image, those of init and configuration containers included, pinned to
// the digest it had then, and makes that what the node should run. It returns
// the new release's number and does not wait for the node. The configuration of
// the deployment stays as it is: the next start renders it.
//
// Errors: NotFound; Precondition for a deployment that never ran or that a
// later version has replaced, for a release that did not succeed or is held,
// when a digest is not known, when the node cannot open a secret any more, and
// when it removes many workloads without a confirmation.
func (s *Service) Rollback(ctx context.Context, id uuid.UUID, number int64, confirmRemoval bool) (int64, error) {
	var made int64
	err := s.Store.InTx(ctx, func(ctx context.Context) error {
		var err error
		made, err = s.rollback(ctx, id, number, confirmRemoval)
		return err
	})
	return made, err
}

func (s *Service) rollback(ctx context.Context, id uuid.UUID, number int64, confirmRemoval bool) (int64, error) {
	_, who, err := authz.Require(ctx, authz.DeploymentRollback)
	if err != nil {
		return 0, err
	}
	d, err := s.lock(ctx, authz.DeploymentRollback, id)
	if err != nil {
		return 0, err
	}
	old, err := s.readRelease(ctx, id, number)
	if err != nil {
		return 0, err
	}
	if d.State == Downgraded { // for another state there is no release that could be found
		return 0, wrongState(d, "rolled back")
	}
	if old.Outcome != OutcomeSuccessful {
		return 0, apperr.New(apperr.Precondition, "release %d was %s; only one that was successful can be rolled back to", number, old.Outcome).
			WithField("number", number)
	}
	if old.Hold != nil {
		return 0, held(old)
	}
	content, err := s.again(ctx, d, old)
	if err != nil {
		return 0, err
	}
	now, err := s.assigned(ctx, d)
	if err != nil {
		return 0, err
	}
	if !confirmRemoval {
		if err := s.checkRemoval(ctx, d, now, content); err != nil {
			return 0, err
		}
	}
	r := made(who)
	r.Trigger, r.RollbackOf = TriggerRollback, number
	next, err := s.assign(ctx, d, now, r, content, confirmRemoval)
	if err != nil {
		return 0, err
	}
	data := map[string]any{"id": d.ID, "nodeId": d.Node.ID, "prefix": d.Prefix, "release": next, "rollbackOf": number}
	if confirmRemoval {
		data["confirmRemoval"] = true
	}
	return next, s.Audit.Record(ctx, authz.DeploymentRollback, data)
}

// pinnedHash is the hash of a workload whose images are pinned to digests. On
// Docker it is that of the workload as it was written, with its tag: the agent
// compares digests besides, so what runs an image by its tag already is left
// alone when that tag is pinned to what it stood for, and the other way about.
func pinnedHash(d Deployment, w spec.Workload) string {
	if d.Node.Type == "docker" {
		w.Image.Reference = written(w.Image.Reference)
		w.Container = mapOtherImages(w.Container, written)
	}
	return spec.Hash(w)
}

// again returns the content of an earlier release as it is to be started: with
// the images that ran then, under the prefix and by the policy of now.
func (s *Service) again(ctx context.Context, d Deployment, old Release) (spec.Deployment, error) {
	content := old.Spec
	content.Prefix, content.Workloads, content.Adopt = d.Prefix, slices.Clone(content.Workloads), nil
	var err error
	if content.Policy, err = s.policyToRender(ctx, d); err != nil {
		return content, err
	}
	key, err := s.Store.NodeSealingKey(ctx, d.Node.ID)
	if err != nil {
		return content, err
	}
	for i := range content.Workloads {
		w := &content.Workloads[i]
		if keys := missingSecrets(w.Container, key); len(keys) > 0 {
			return content, apperr.New(apperr.Precondition,
				"the node cannot open secrets of release %d any more, since its agent was installed anew; enter them and start the deployment", old.Number).
				WithField("secretKeys", keys)
		}
		switch digest := old.digestOf(*w); {
		case digest == "":
			return content, apperr.New(apperr.Precondition,
				"it is not known which image %s ran in release %d, since the node's agent did not tell; start the deployment with the tag you want",
				w.Name(), old.Number).WithField("number", old.Number).WithReason(ReasonDigestsUnknown)
		case digestIn(w.Image.Reference) == "":
			w.Image.Reference += "@" + digest
		}
		w.Container = old.pinOthers(*w)
		w.Hash = pinnedHash(d, *w)
	}
	return content, spec.Validate(content).Err()
}
