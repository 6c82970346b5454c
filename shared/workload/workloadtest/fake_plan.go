package workloadtest

import (
	"context"
	"slices"
	"strings"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Plan tells what Apply would do now.
func (f *FakeDriver) Plan(ctx context.Context, d spec.Deployment) (workload.Plan, error) {
	if err := f.Check(d); err != nil {
		return workload.Plan{}, err
	}
	if err := f.do(ctx, Op{Name: "plan", Prefix: d.Prefix, DeploymentID: d.ID}); err != nil {
		return workload.Plan{}, err
	}
	if _, err := f.conflict(d); err != nil {
		return workload.Plan{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var plan workload.Plan
	named := map[string]bool{}
	for _, w := range d.Workloads {
		name := spec.ContainerName(d.Prefix, w.Name())
		named[name] = true
		p := workload.PlannedWorkload{
			Name: w.Name(), InstanceID: w.InstanceID, Action: workload.ActionCreate, ReplicasThen: 1,
			Image: w.Image.Reference, SpecHash: w.Hash,
		}
		if c, there := f.containers[name]; there {
			p.Action, p.ReplicasNow, p.Containers = workload.ActionReplace, 1, []string{c.EngineID}
			if c.SpecHash == w.Hash {
				p.Action, p.Starts = workload.ActionKeep, c.State != spec.StateRunning && c.judge() != nil
			} else if c.ImageName != w.Image.Reference {
				p.Changes = []string{"image"}
			}
		}
		if p.Action != workload.ActionKeep {
			p.Hooks = w.HookKinds()
		}
		plan.Workloads = append(plan.Workloads, p)
	}
	var retired []workload.PlannedWorkload
	for name, c := range f.containers {
		if c.under(d.Prefix) && !named[name] {
			retired = append(retired, workload.PlannedWorkload{
				Name: c.ID.Name, InstanceID: c.InstanceID, Action: workload.ActionRetire, ReplicasNow: 1, Containers: []string{c.EngineID},
			})
		}
	}
	slices.SortFunc(retired, func(a, b workload.PlannedWorkload) int { return strings.Compare(a.Name, b.Name) })
	plan.Workloads = append(plan.Workloads, retired...)
	return plan, nil
}
