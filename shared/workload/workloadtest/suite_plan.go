package workloadtest

import (
	"slices"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// plan asks for the plan of a deployment.
func (b *bench) plan(d spec.Deployment) workload.Plan {
	b.Helper()
	plan, err := b.Driver.Plan(b.ctx, d)
	if err != nil {
		b.Fatalf("Plan %s: %v", d, err)
	}
	return plan
}

// wantActions checks the actions of a plan, "name action" in order.
func (b *bench) wantActions(plan workload.Plan, want ...string) {
	b.Helper()
	var got []string
	for _, w := range plan.Workloads {
		got = append(got, w.Name+" "+string(w.Action))
	}
	if !slices.Equal(got, want) {
		b.Errorf("the plan is %q, want %q", got, want)
	}
}

func planTells(b *bench) {
	first := b.release(1, b.workload("web"), b.workload("db"), b.workload("old"))
	plan := b.plan(first)
	b.wantActions(plan, "web create", "db create", "old create")
	if n := b.runningUnder(b.prefix); n != 0 {
		b.Errorf("%d containers run after a plan, want none", n)
	}
	b.apply(first)

	again := first
	again.Release = 2
	kept := b.plan(again)
	b.wantActions(kept, "web keep", "db keep", "old keep")
	if !kept.Empty() || kept.Downtime() {
		b.Errorf("the plan of what runs is %+v, want it to change nothing", kept)
	}
	if plan.Hash() == kept.Hash() {
		b.Error("two plans that differ have the same hash")
	}

	next := b.release(3, b.workload("web", greeting("new")), b.workload("db"), b.workload("new"))
	one, two := b.plan(next), b.plan(next)
	b.wantActions(one, "web replace", "db keep", "new create", "old retire")
	if one.Hash() != two.Hash() {
		b.Error("the same plan, made twice, has two hashes")
	}
	web := b.running("web")
	if w := one.Workloads[0]; w.InstanceID != "instance-web" || w.ReplicasNow != 1 || w.ReplicasThen != 1 || !slices.Equal(w.Containers, []string{web.EngineID}) {
		b.Errorf("web is planned as %+v", w)
	}
	if err := b.Driver.Stop(b.ctx, b.running("db").ID); err != nil {
		b.Fatal(err)
	}
	stopped := b.plan(next)
	if !stopped.Workloads[1].Starts || stopped.Hash() == one.Hash() {
		b.Errorf("with db stopped the plan is %+v, want it to start db and to be another plan", stopped)
	}
	b.apply(next)
	if done := b.plan(next); !done.Empty() {
		b.Errorf("after Apply the plan is %+v, want nothing left to do", done)
	}
}

func planRefuses(b *bench) {
	_, err := b.Driver.Plan(b.ctx, b.release(1, b.workload("web", func(c *spec.Container) { b.Unsupported(c) })))
	b.wantKind("Plan of what is not supported", err, apperr.Unsupported)
	b.AddForeign(b.T, spec.ContainerName(b.prefix, "web"))
	_, err = b.Driver.Plan(b.ctx, b.release(1, b.workload("web")))
	b.wantKind("Plan with something foreign in the way", err, apperr.Conflict)
}
