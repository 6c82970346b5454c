package agentrpc

import (
	"encoding/json"
	"errors"
	"math"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/report"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// setToProto returns a set for an agent that takes no changed sets: it does not
// know confirmed removals either.
func setToProto(set deployment.Set) *agentv1.AssignmentSet {
	p := changeToProto(set)
	for _, a := range p.GetAssignments() {
		a.RemovalConfirmed = false
	}
	return p
}

// changeToProto returns a set, whole or changed.
func changeToProto(set deployment.Set) *agentv1.AssignmentSet {
	p := &agentv1.AssignmentSet{
		Lineage: set.Lineage, Generation: set.Generation, SetHash: set.Hash,
		BaseGeneration: set.Base.Generation, BaseSetHash: set.Base.Hash, Forgotten: set.Forgotten,
		ReplacesLineage: set.Replaces,
	}
	for _, a := range set.Assignments {
		one := &agentv1.Assignment{Prefix: a.Prefix, Generation: a.Generation, RemovalConfirmed: a.RemovalConfirmed, ExpectedPlan: a.ExpectedPlan}
		if a.Deployment != nil {
			one.Desired = &agentv1.Assignment_Deployment{Deployment: specpb.DeploymentToProto(*a.Deployment)}
		} else {
			one.Desired = &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{DeploymentId: a.DeploymentID.String(), Act: a.Tombstone}}
		}
		p.Assignments = append(p.Assignments, one)
	}
	if p.GetSetHash() == "" { // everything, read without the hash
		p.SetHash = specpb.SetHash(p)
	}
	return p
}

func reportFrom(p *agentv1.StatusReport) (report.Report, error) {
	// PostgreSQL has no unsigned numbers.
	if p.GetSequence() == 0 || p.GetSequence() > math.MaxInt64 {
		return report.Report{}, apperr.InvalidField("sequence", p.GetSequence(), "must be 1 to %d", int64(math.MaxInt64))
	}
	r := report.Report{Sequence: p.GetSequence(), SpoolID: p.GetSpoolId()}
	for _, s := range p.GetDeployments() {
		id, err := uuid.Parse(s.GetDeploymentId())
		if err != nil {
			return report.Report{}, apperr.InvalidField("deployment_id", s.GetDeploymentId(), "must be a UUID")
		}
		phase, err := specpb.PhaseFromProto(s.GetPhase())
		if err != nil {
			continue // of a newer agent: refused, it would only be sent again
		}
		r.Statuses = append(r.Statuses, deployment.Status{
			DeploymentID: id, Generation: s.GetGeneration(), Release: s.GetRelease(),
			Phase: phase, Failure: specpb.FailureFromProto(s.GetFailure()), Digests: digestsFrom(s.GetImages(), s.GetOtherImages()),
		})
	}
	for _, e := range p.GetEvents() {
		id, err := uuid.Parse(e.GetDeploymentId())
		if err != nil {
			return report.Report{}, apperr.InvalidField("deployment_id", e.GetDeploymentId(), "must be a UUID")
		}
		r.Events = append(r.Events, deployment.Event{DeploymentID: id, Release: e.GetRelease(), Event: specpb.EventFromProto(e)})
	}
	if list := p.GetContainers(); list != nil {
		r.Containers = &report.Containers{EngineError: list.GetEngineError(), List: make([]workload.Container, len(list.GetContainers()))}
		for i, c := range list.GetContainers() {
			r.Containers.List[i] = specpb.ObservedFromProto(c)
		}
	}
	for _, f := range p.GetFacts() {
		r.Facts = append(r.Facts, factFrom(f))
	}
	return r, nil
}

// digestsFrom returns digests as a release has them; nil for none.
func digestsFrom(images, others []*agentv1.ResolvedImage) map[string]string {
	if len(images)+len(others) == 0 {
		return nil
	}
	digests := make(map[string]string, len(images)+len(others))
	for _, image := range images {
		digests[image.GetInstanceId()] = image.GetDigest()
	}
	for _, image := range others {
		digests[deployment.OtherImage(image.GetInstanceId(), image.GetReference())] = image.GetDigest()
	}
	return digests
}

// factFrom reads a fact. One of a kind that a newer agent knows counts as
// lost: it can't be told, and must not be sent again and again.
func factFrom(p *agentv1.Fact) report.Fact {
	f := report.Fact{
		Sequence: p.GetSequence(), Container: workload.ContainerID{Prefix: p.GetPrefix(), Name: p.GetName()},
		EngineID: p.GetEngineId(), DeploymentID: p.GetDeploymentId(), InstanceID: p.GetInstanceId(), Release: p.GetRelease(),
	}
	if at := p.GetTime(); at != nil {
		f.At = at.AsTime()
	}
	switch what := p.GetWhat().(type) {
	case *agentv1.Fact_Exit:
		f.Exit = &report.Exit{
			Code: int(what.Exit.GetExitCode()), OOMKilled: what.Exit.GetOomKilled(), Restarts: int(what.Exit.GetRestartCount()),
			Reason: what.Exit.GetReason(), LogTail: what.Exit.GetLogTail(), Unseen: what.Exit.GetUnseen(),
		}
	case *agentv1.Fact_Lost:
		f.Lost = what.Lost.GetCount()
	default:
		f.Lost = 1
	}
	return f
}

func operations() map[command.Operation]agentv1.ContainerOperation {
	return map[command.Operation]agentv1.ContainerOperation{
		command.Start:   agentv1.ContainerOperation_CONTAINER_OPERATION_START,
		command.Stop:    agentv1.ContainerOperation_CONTAINER_OPERATION_STOP,
		command.Restart: agentv1.ContainerOperation_CONTAINER_OPERATION_RESTART,
		command.Delete:  agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE,
	}
}

func commandToProto(c command.Command) *agentv1.Command {
	p := &agentv1.Command{Id: c.ID.String(), Deadline: timestamppb.New(c.Deadline)}
	if c.Precondition != (command.Precondition{}) {
		p.Precondition = &agentv1.Precondition{EngineId: c.EngineID, Generation: c.Generation}
	}
	switch c.Operation {
	case command.ReadLogs:
		p.Act = &agentv1.Command_ReadLogs{ReadLogs: &agentv1.ReadLogs{
			Prefix: c.Container.Prefix, Name: c.Container.Name, Tail: int32(c.Tail),
		}}
	case command.UpdateAgent:
		p.Act = &agentv1.Command_Update{Update: updateToProto(c.Update)}
	case command.Plan:
		p.Act = &agentv1.Command_Plan{Plan: &agentv1.PlanDeployment{}}
		if c.Deployment != nil {
			p.GetPlan().Deployment = specpb.DeploymentToProto(*c.Deployment)
		}
	case command.Inspect:
		p.Act = &agentv1.Command_Inspect{Inspect: &agentv1.Inspect{Prefix: c.Container.Prefix, Name: c.Container.Name}}
	default:
		p.Act = &agentv1.Command_Container{Container: &agentv1.ContainerAct{
			Operation: operations()[c.Operation], Prefix: c.Container.Prefix, Name: c.Container.Name,
		}}
	}
	return p
}

func updateToProto(u *command.Update) *agentv1.Update {
	if u == nil {
		return &agentv1.Update{} // refused as unsigned
	}
	p := &agentv1.Update{
		Version: u.Version, Digest: u.Digest, Size: uint64(max(0, u.Size)), Path: u.Path, Signature: u.Signature, Downgrade: u.Downgrade,
	}
	for _, key := range u.Keys {
		p.ReleaseKeys = append(p.ReleaseKeys, &agentv1.ReleaseKey{Key: key.Public, Signature: key.Signature})
	}
	return p
}

// resultFrom takes a command's result; one without a usable id belongs to no
// command and is dropped by the store.
func resultFrom(p *agentv1.CommandResult) command.Result {
	id, err := uuid.Parse(p.GetId())
	if err != nil {
		id = uuid.Nil
	}
	r := command.Result{ID: id}
	if p.GetError() != "" {
		r.Err = errors.New(p.GetError())
		if kind := specpb.KindFromProto(p.GetErrorKind()); kind != apperr.Internal {
			r.Err = apperr.New(kind, "%s", p.GetError())
		}
	}
	if inspection := p.GetInspection(); len(inspection) > 0 {
		if len(inspection) > command.MaxInspection || !json.Valid(inspection) {
			r.Err = apperr.New(apperr.Internal, "the agent's answer is not JSON of at most %d bytes", command.MaxInspection)
		} else {
			r.Inspection = inspection
		}
	}
	if told := p.GetPlan(); told != nil {
		plan, hash, err := specpb.PlanFromProto(told)
		if err != nil {
			r.Err = apperr.New(apperr.Internal, "the agent's plan cannot be read: %v", err)
		} else {
			r.Plan = &command.Planned{Plan: plan, Hash: clean(hash, maxInfoBytes)}
		}
	}
	for _, line := range p.GetLines()[:min(len(p.GetLines()), command.MaxLogLines)] {
		r.Lines = append(r.Lines, specpb.LogLineFromProto(line))
	}
	return r
}

// RemovalOf counts what a node loses when it goes from one set to another, by
// the function that its agent uses.
func RemovalOf(held, next []deployment.Assignment) deployment.Removal {
	r := specpb.RemovalOf(changeToProto(deployment.Set{Assignments: held}), changeToProto(deployment.Set{Assignments: next}))
	return deployment.Removal{Workloads: r.Workloads, Held: r.Held, TooMany: r.TooMany()}
}
