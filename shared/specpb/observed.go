package specpb

import (
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// ObservedToProto returns what was seen of a container.
func ObservedToProto(c workload.Container) *agentv1.Container {
	return &agentv1.Container{
		Prefix:       clean(c.ID.Prefix),
		Name:         clean(c.ID.Name),
		EngineId:     c.EngineID,
		Managed:      c.Managed,
		DeploymentId: clean(c.DeploymentID),
		InstanceId:   clean(c.InstanceID),
		Release:      c.Release,
		SpecHash:     clean(c.SpecHash),
		ImageName:    clean(c.ImageName),
		ImageTag:     clean(c.ImageTag),
		ImageDigest:  clean(c.ImageDigest),
		Command:      clean(c.Command),
		CreatedAt:    timeToProto(c.CreatedAt),
		State:        string(c.State),
		Reason:       clean(c.Reason),
		ExitCode:     int32(c.ExitCode),
		Health:       c.Health,
		Ports:        convert(c.Ports, observedPortToProto),
		Leftover:     c.Leftover,
		OomKilled:    c.OOMKilled,
		RestartCount: int32(c.RestartCount),
		StartedAt:    timeToProto(c.StartedAt),
		FinishedAt:   timeToProto(c.FinishedAt),
	}
}

// ObservedFromProto reads what was seen of a container. Sizes are checked with
// the report as a whole, by CheckReport.
func ObservedFromProto(p *agentv1.Container) workload.Container {
	return workload.Container{
		ID:           workload.ContainerID{Prefix: p.GetPrefix(), Name: p.GetName()},
		EngineID:     p.GetEngineId(),
		Managed:      p.GetManaged(),
		DeploymentID: p.GetDeploymentId(),
		InstanceID:   p.GetInstanceId(),
		Release:      p.GetRelease(),
		SpecHash:     p.GetSpecHash(),
		ImageName:    p.GetImageName(),
		ImageTag:     p.GetImageTag(),
		ImageDigest:  p.GetImageDigest(),
		Command:      p.GetCommand(),
		CreatedAt:    timeFromProto(p.GetCreatedAt()),
		State:        spec.ContainerState(p.GetState()),
		Reason:       p.GetReason(),
		ExitCode:     int(p.GetExitCode()),
		Health:       p.GetHealth(),
		Ports:        convert(p.GetPorts(), observedPortFromProto),
		Leftover:     p.GetLeftover(),
		OOMKilled:    p.GetOomKilled(),
		RestartCount: int(p.GetRestartCount()),
		StartedAt:    timeFromProto(p.GetStartedAt()),
		FinishedAt:   timeFromProto(p.GetFinishedAt()),
	}
}

// LogLineToProto returns a line of a container's log.
func LogLineToProto(l workload.LogLine) *agentv1.LogLine {
	return &agentv1.LogLine{Time: timeToProto(l.Time), Stream: l.Stream, Text: clean(l.Text)}
}

// LogLineFromProto reads a line of a container's log.
func LogLineFromProto(p *agentv1.LogLine) workload.LogLine {
	return workload.LogLine{Time: timeFromProto(p.GetTime()), Stream: p.GetStream(), Text: p.GetText()}
}

func observedPortToProto(p workload.Port) *agentv1.ContainerPort {
	return &agentv1.ContainerPort{Internal: p.Internal, External: p.External, Protocol: p.Protocol}
}

func observedPortFromProto(p *agentv1.ContainerPort) workload.Port {
	return workload.Port{Internal: p.GetInternal(), External: p.GetExternal(), Protocol: p.GetProtocol()}
}
