package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Change says what is to change of a deployment; nil leaves a field as it is.
type Change struct {
	Note   *string
	Prefix *string
	// Environment replaces the whole list.
	Environment *[]spec.KeyValue
	// Policy is changed field by field.
	Policy PolicyChange
}

// PolicyChange says what is to change of a policy; nil leaves a field as it is.
type PolicyChange struct {
	OnFailure           *spec.OnFailure
	HealthWindowSeconds *int32
	DrainSeconds        *int32
	Parallelism         *int32
	Drift               *spec.Drift
}

// over returns the policy with what the change says.
func (c PolicyChange) over(p spec.Policy) spec.Policy {
	if c.OnFailure != nil {
		p.OnFailure = *c.OnFailure
	}
	if c.HealthWindowSeconds != nil {
		p.HealthWindowSeconds = *c.HealthWindowSeconds
	}
	if c.DrainSeconds != nil {
		p.DrainSeconds = *c.DrainSeconds
	}
	if c.Parallelism != nil {
		p.Parallelism = *c.Parallelism
	}
	if c.Drift != nil {
		p.Drift = *c.Drift
	}
	return p
}

// policyOnly reports whether the change is about nothing but the policy.
func (c Change) policyOnly() bool {
	return c.Note == nil && c.Prefix == nil && c.Environment == nil && c.Policy != PolicyChange{}
}

// Update changes a deployment; what runs is changed by the next start. Errors:
// Invalid, NotFound, Precondition when it is not editable or runs under the
// prefix it is to leave, Conflict when the new prefix is taken.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c Change) error {
	if err := c.validate(); err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		_, who, err := authz.Require(ctx, authz.DeploymentUpdate)
		if err != nil {
			return err
		}
		d, err := s.lock(ctx, authz.DeploymentUpdate, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, d.UpdatedAt); err != nil {
			return err
		}
		// The policy is about the act of starting and no part of what an
		// incremental version once ran.
		if !d.Editable() && (!c.policyOnly() || !d.Startable()) {
			return wrongState(d, "changed")
		}
		if c.Prefix != nil && *c.Prefix != d.Prefix {
			if err := s.move(ctx, &d, *c.Prefix); err != nil {
				return err
			}
		}
		if c.Note != nil {
			d.Note = *c.Note
		}
		if c.Environment != nil {
			d.Environment = *c.Environment
		}
		d.Policy = c.Policy.over(d.Policy)
		d.UpdatedAt, d.UpdatedBy = revision.Next(d.UpdatedAt, s.Now()), who.Ref()
		if err := s.Store.UpdateDeployment(ctx, d); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.DeploymentUpdate, c.auditData(d))
	})
}

// move changes the prefix of a deployment that nothing runs of.
func (s *Service) move(ctx context.Context, d *Deployment, prefix string) error {
	a, err := s.Store.FindAssignment(ctx, d.Node.ID, d.Prefix)
	switch {
	case err == nil && a.DeploymentID == d.ID:
		return apperr.New(apperr.Precondition,
			"the node runs this deployment under the prefix %q; delete it and make another one under the new prefix", d.Prefix).
			WithField("prefix", d.Prefix)
	case err != nil && !apperr.Is(err, apperr.NotFound):
		return err
	}
	d.Prefix = prefix
	there, err := s.Store.ListPlaced(ctx, d.Node.ID, prefix)
	if err != nil {
		return err
	}
	return d.placeable(there)
}

func (c Change) validate() error {
	if c.Prefix != nil {
		if err := spec.ValidatePrefix(*c.Prefix).Err(); err != nil {
			return err
		}
	}
	if c.Note != nil {
		if err := validateNote(*c.Note); err != nil {
			return err
		}
	}
	if err := spec.ValidatePolicy("policy", c.Policy.over(spec.Policy{})).Err(); err != nil {
		return err
	}
	if c.Environment != nil {
		return validateEnvironment(*c.Environment)
	}
	return nil
}

// auditData names what was changed; of the environment only the keys, since
// values may be confidential.
func (c Change) auditData(d Deployment) map[string]any {
	data := map[string]any{"id": d.ID}
	if c.Prefix != nil {
		data["prefix"] = *c.Prefix
	}
	if c.Note != nil {
		data["note"] = *c.Note
	}
	if c.Environment != nil {
		keys := []string{}
		for _, kv := range *c.Environment {
			keys = append(keys, kv.Key)
		}
		data["environmentKeys"] = keys
	}
	if c.Policy != (PolicyChange{}) {
		data["policy"] = map[string]any{
			"onFailure": string(d.Policy.OnFailure), "healthWindow": d.Policy.HealthWindowSeconds,
			"drain": d.Policy.DrainSeconds, "parallelism": d.Policy.Parallelism, "drift": string(d.Policy.Drift),
		}
	}
	return data
}

// UpdateInstance changes an instance's own configuration: change gets what the
// instance says now and returns what it shall say. Errors: Invalid, NotFound,
// Precondition when the deployment is not editable.
func (s *Service) UpdateInstance(ctx context.Context, deploymentID, id uuid.UUID, change func(spec.Container) spec.Container) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		_, who, err := authz.Require(ctx, authz.DeploymentUpdate)
		if err != nil {
			return err
		}
		d, err := s.lock(ctx, authz.DeploymentUpdate, deploymentID)
		if err != nil {
			return err
		}
		if !d.Editable() {
			return wrongState(d, "changed")
		}
		i, err := s.findInstance(ctx, deploymentID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, i.UpdatedAt); err != nil {
			return err
		}
		var config spec.Container
		if i.Config != nil {
			config = *i.Config
		}
		stored := config.Secrets
		config = change(config)
		if config.Secrets, err = s.seal(ctx, d.Node.ID, stored, config.Secrets); err != nil {
			return err
		}
		if err := spec.ValidateContainer("config", config).Err(); err != nil {
			return err
		}
		if err := storage.Hold(ctx, s.Store, config); err != nil {
			return err
		}
		if err := s.Store.UpdateInstance(ctx, id, config, revision.Next(i.UpdatedAt, s.Now())); err != nil {
			return err
		}
		d.UpdatedAt, d.UpdatedBy = revision.Next(d.UpdatedAt, s.Now()), who.Ref()
		if err := s.Store.UpdateDeployment(ctx, d); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.DeploymentUpdate, map[string]any{"id": deploymentID, "instanceId": id})
	})
}
