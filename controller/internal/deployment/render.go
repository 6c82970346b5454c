package deployment

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// render makes the content of a deployment's next release, over what its prefix
// is assigned now.
func (s *Service) render(ctx context.Context, d Deployment, now Assignment, ids []uuid.UUID) (spec.Deployment, error) {
	all, err := s.Store.ListInstances(ctx, d.ID)
	if err != nil {
		return spec.Deployment{}, err
	}
	fresh, err := chosen(all, ids)
	if err != nil {
		return spec.Deployment{}, err
	}
	if len(fresh) == 0 {
		return spec.Deployment{}, apperr.New(apperr.Precondition, "there is no instance to start").WithField("instances", nil)
	}
	var running []spec.Workload
	if now.Deployment != nil {
		running = now.Deployment.Workloads
	}
	key, err := s.Store.NodeSealingKey(ctx, d.Node.ID)
	if err != nil {
		return spec.Deployment{}, err
	}
	policy, err := s.policyToRender(ctx, d)
	if err != nil {
		return spec.Deployment{}, err
	}
	content := spec.Deployment{ID: d.ID.String(), Prefix: d.Prefix, Policy: policy}
	var missing []map[string]any
	for _, i := range all {
		w := spec.Workload{InstanceID: i.ID.String(), Container: i.configuration(d.Environment)}
		if !slices.ContainsFunc(fresh, func(f Instance) bool { return f.ID == i.ID }) {
			if kept, ok := keep(running, w); ok {
				content.Workloads = append(content.Workloads, kept)
			}
			continue
		}
		if w.Container.Storage, err = s.placeStorage(ctx, w.Container.Storage); err != nil {
			return spec.Deployment{}, err
		}
		w.Image.RegistryID = i.Image.Registry.ID.String()
		if w.Image.Reference, err = s.Reference(ctx, i.Image.Registry.ID, i.Image.Name, i.Image.Tag); err != nil {
			return spec.Deployment{}, err
		}
		if keys := missingSecrets(w.Container, key); len(keys) > 0 {
			missing = append(missing, map[string]any{"instanceId": i.ID, "secretKeys": keys})
		}
		content.Workloads = append(content.Workloads, w)
	}
	content = spec.Normalize(content)
	if err := spec.Validate(content).Err(); err != nil {
		return spec.Deployment{}, err
	}
	if len(missing) > 0 {
		return spec.Deployment{}, apperr.New(apperr.Precondition, "secrets have no value that the node can open; enter them first").
			WithField("instanceSecrets", missing)
	}
	for i := range content.Workloads {
		content.Workloads[i].Hash = spec.Hash(content.Workloads[i])
	}
	return content, nil
}

// assigned returns what the deployment's prefix is assigned on its node: what is
// to run is nil where nothing is. It stays that while the node is locked.
func (s *Service) assigned(ctx context.Context, d Deployment) (Assignment, error) {
	a, err := s.Store.FindAssignment(ctx, d.Node.ID, d.Prefix)
	if apperr.Is(err, apperr.NotFound) {
		return Assignment{}, nil
	}
	return a, err
}

// keep finds what runs of a workload that is not to be started: the same
// instance, or when the prefix is taken over from another deployment, what has
// the same name there.
func keep(running []spec.Workload, w spec.Workload) (spec.Workload, bool) {
	at := slices.IndexFunc(running, func(r spec.Workload) bool { return r.InstanceID == w.InstanceID })
	if at < 0 {
		at = slices.IndexFunc(running, func(r spec.Workload) bool { return r.Name() == w.Name() })
	}
	if at < 0 {
		return spec.Workload{}, false
	}
	return running[at], true
}

// configuration is what the instance says over what its image says over the
// deployment's environment.
func (i Instance) configuration(environment []spec.KeyValue) spec.Container {
	c := i.Image.Config
	if i.Config != nil {
		c = spec.Merge(c, *i.Config)
	}
	return spec.WithEnvironment(environment, c)
}

// missingSecrets returns the keys of secrets that keep a release from starting:
// required ones without a value, and any whose value the node can't open, since
// its agent has another key by now.
func missingSecrets(c spec.Container, key string) []string {
	var keys []string
	for _, secret := range c.Secrets {
		if !opensWith(secret, key) && (secret.Required || secret.Value != "") {
			keys = append(keys, secret.Key)
		}
	}
	return keys
}
