package docker

import (
	"context"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Plan tells what Apply would do now.
func (d *Driver) Plan(ctx context.Context, dep spec.Deployment) (workload.Plan, error) {
	if err := d.reach(ctx); err != nil {
		return workload.Plan{}, err
	}
	if err := d.Check(dep); err != nil {
		return workload.Plan{}, err
	}
	seen, err := d.look(ctx, dep, func(spec.Workload, sight) bool { return true })
	if err != nil {
		return workload.Plan{}, err
	}
	dec := decide(dep, seen, d.planRoutes)
	return dec.plan, dec.reason
}
