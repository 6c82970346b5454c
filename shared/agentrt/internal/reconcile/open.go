package reconcile

import (
	"fmt"
	"slices"

	"fairlead.dev/shared/spec"
)

// open returns the deployment with the values of its secrets as the container
// is to have them, and the keys of its storages. They are in memory alone, and only while the driver works.
func (r *Reconciler) open(d spec.Deployment) (spec.Deployment, error) {
	d.Workloads = slices.Clone(d.Workloads)
	for i := range d.Workloads {
		c := &d.Workloads[i].Container
		c.Secrets = slices.Clone(c.Secrets)
		for j := range c.Secrets {
			secret := &c.Secrets[j]
			if secret.Value == "" || !secret.Encrypted {
				continue
			}
			value, err := r.config.Open(secret.Value)
			if err != nil {
				return d, fmt.Errorf("open the secret %s of %s: %w", secret.Key, d.Workloads[i].Name(), err)
			}
			secret.Value, secret.Encrypted = value, false
		}
		if c.Storage != nil && c.Storage.Keys != nil {
			opened, err := r.openStorage(*c.Storage)
			if err != nil {
				return d, fmt.Errorf("open the keys of the storage of %s: %w", d.Workloads[i].Name(), err)
			}
			c.Storage = &opened
		}
	}
	return d, nil
}

// openStorage returns the storage with its keys in the clear.
func (r *Reconciler) openStorage(s spec.Storage) (spec.Storage, error) {
	var keys spec.StorageKeys
	var err error
	if keys.Access, err = r.config.Open(s.Keys.Access); err != nil {
		return s, err
	}
	if keys.Secret, err = r.config.Open(s.Keys.Secret); err != nil {
		return s, err
	}
	s.Keys = &keys
	return s, nil
}
