package docker

import (
	"context"
	"slices"
	"strings"

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
	a := &applying{Driver: d, dep: dep, story: &story{now: d.options.Now}}
	if failure := a.survey(ctx); failure != nil {
		return workload.Plan{}, failure.Err
	}
	return a.plan(), nil
}

func (a *applying) plan() workload.Plan {
	var plan workload.Plan
	named := map[string]bool{}
	for _, s := range a.slots {
		named[s.base] = true
		p := workload.PlannedWorkload{
			Name: s.Name(), InstanceID: s.InstanceID, Action: workload.ActionCreate, ReplicasThen: 1,
			Image: s.Image.Reference, SpecHash: s.Hash, Notes: notes(s.Container),
		}
		if s.old != nil {
			p.ReplicasNow, p.Containers = 1, []string{s.old.id}
		}
		switch {
		case s.kept:
			p.Action, p.Starts = workload.ActionKeep, !s.old.running() && !s.old.ends
		case s.old != nil:
			p.Action = workload.ActionReplace
			b, _ := build(a.dep, s.Workload, s.Image.Reference)
			if slices.ContainsFunc(a.retiring, func(r *retiree) bool { return conflicts(s.base, b, r) }) {
				p.Action = workload.ActionRecreate
			}
		}
		plan.Workloads = append(plan.Workloads, p)
	}
	var retired []workload.PlannedWorkload
	for _, r := range a.retiring {
		if r.place == placeServing && !named[r.base] {
			retired = append(retired, workload.PlannedWorkload{
				Name: strings.TrimPrefix(r.base, r.prefix+"-"), InstanceID: r.instance, Action: workload.ActionRetire,
				ReplicasNow: 1, Containers: []string{r.id},
			})
		}
	}
	slices.SortFunc(retired, func(a, b workload.PlannedWorkload) int { return strings.Compare(a.Name, b.Name) })
	plan.Workloads = append(plan.Workloads, retired...)
	return plan
}
