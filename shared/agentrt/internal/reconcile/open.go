package reconcile

import (
	"fmt"
	"slices"

	"fairlead.dev/shared/spec"
)

// open returns the deployment with the values of its secrets as the container
// is to have them. They are in memory alone, and only while the driver works.
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
	}
	return d, nil
}
