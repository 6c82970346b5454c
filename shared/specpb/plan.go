package specpb

import (
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// maxPlanned bounds the workloads of a plan: those that a deployment names, and
// as many that it names no longer.
const maxPlanned = 2 * spec.MaxWorkloads

// maxPlannedText bounds each of its texts, in bytes.
const maxPlannedText = 16 << 10

// PlanToProto returns a plan with its hash.
func PlanToProto(p workload.Plan) *agentv1.Plan {
	return &agentv1.Plan{Hash: p.Hash(), Workloads: convert(p.Workloads, plannedToProto)}
}

// PlanFromProto reads a plan and the hash that its agent gave it. It fails with
// Invalid when it is larger than a plan may be.
func PlanFromProto(p *agentv1.Plan) (plan workload.Plan, hash string, err error) {
	if p == nil {
		return workload.Plan{}, "", apperr.New(apperr.Invalid, "the message holds no plan")
	}
	if n := len(p.GetWorkloads()); n > maxPlanned {
		return workload.Plan{}, "", apperr.InvalidField("workloads", n, "at most %d workloads", maxPlanned)
	}
	if err := checkSize(p, spec.MaxListEntries, maxPlannedText); err != nil {
		return workload.Plan{}, "", err
	}
	return workload.Plan{Workloads: convert(p.GetWorkloads(), plannedFromProto)}, p.GetHash(), nil
}

func plannedToProto(w workload.PlannedWorkload) *agentv1.PlannedWorkload {
	return &agentv1.PlannedWorkload{
		Name: clean(w.Name), InstanceId: clean(w.InstanceID), Action: string(w.Action),
		ReplicasNow: int32(w.ReplicasNow), ReplicasThen: int32(w.ReplicasThen), Starts: w.Starts,
		Changes: cleanAll(w.Changes), Image: clean(w.Image), DigestNow: clean(w.DigestNow), DigestThen: clean(w.DigestThen),
		Downtime: cleanAll(w.Downtime), Notes: cleanAll(w.Notes), SpecHash: clean(w.SpecHash), Containers: cleanAll(w.Containers),
		Hooks: convert(w.Hooks, func(k spec.HookKind) string { return string(k) }),
	}
}

func plannedFromProto(p *agentv1.PlannedWorkload) workload.PlannedWorkload {
	return workload.PlannedWorkload{
		Name: p.GetName(), InstanceID: p.GetInstanceId(), Action: workload.Action(p.GetAction()),
		ReplicasNow: int(p.GetReplicasNow()), ReplicasThen: int(p.GetReplicasThen()), Starts: p.GetStarts(),
		Changes: p.GetChanges(), Image: p.GetImage(), DigestNow: p.GetDigestNow(), DigestThen: p.GetDigestThen(),
		Downtime: p.GetDowntime(), Notes: p.GetNotes(), SpecHash: p.GetSpecHash(), Containers: p.GetContainers(),
		Hooks: convert(p.GetHooks(), func(k string) spec.HookKind { return spec.HookKind(k) }),
	}
}
