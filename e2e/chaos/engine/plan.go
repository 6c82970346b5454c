package engine

import (
	"context"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Plan is not of this driver's business: nothing in the chaos tests asks for it.
func (d *Driver) Plan(context.Context, spec.Deployment) (workload.Plan, error) {
	return workload.Plan{}, apperr.New(apperr.Unsupported, "the scripted engine makes no plans")
}
