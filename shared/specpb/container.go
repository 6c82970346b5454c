package specpb

import (
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// ContainerToProto returns a container configuration as a message. A nil list
// becomes an absent one, an empty list one without items.
func ContainerToProto(c spec.Container) *agentv1.ContainerConfig { return containerToProto(c) }

// ContainerFromProto reads a container configuration. It fails with Invalid,
// naming the field, when something in it is larger than a spec may be.
func ContainerFromProto(p *agentv1.ContainerConfig) (spec.Container, error) {
	if p == nil {
		return spec.Container{}, apperr.New(apperr.Invalid, "the message holds no container")
	}
	if err := checkSize(p, spec.MaxListEntries, spec.MaxValueLength); err != nil {
		return spec.Container{}, err
	}
	return containerFromProto(p), nil
}

func containerToProto(c spec.Container) *agentv1.ContainerConfig {
	return &agentv1.ContainerConfig{
		Name:               c.Name,
		Environment:        pairsToProto(c.Environment),
		Secrets:            secretsToProto(c.Secrets),
		Routing:            routingToProto(c.Routing),
		Expose:             word[string](c.Expose),
		User:               c.User,
		Tty:                c.TTY,
		WorkingDirectory:   c.WorkingDirectory,
		ConfigContainer:    configContainerToProto(c.ConfigContainer),
		Ports:              portsToProto(c.Ports),
		PortRanges:         portRangesToProto(c.PortRanges),
		Volumes:            volumesToProto(c.Volumes),
		Commands:           keysToProto(c.Commands),
		Args:               keysToProto(c.Args),
		InitContainers:     initContainersToProto(c.InitContainers),
		Capabilities:       pairsToProto(c.Capabilities),
		Storage:            storageToProto(c.Storage),
		Replicas:           c.Replicas,
		LogConfig:          logConfigToProto(c.LogConfig),
		RestartPolicy:      word[string](c.RestartPolicy),
		NetworkMode:        word[string](c.NetworkMode),
		Networks:           keysToProto(c.Networks),
		DockerLabels:       pairsToProto(c.DockerLabels),
		ExpectedState:      expectedStateToProto(c.ExpectedState),
		DeploymentStrategy: word[string](c.DeploymentStrategy),
		CustomHeaders:      keysToProto(c.CustomHeaders),
		ProxyHeaders:       c.ProxyHeaders,
		UseLoadBalancer:    c.UseLoadBalancer,
		ExtraLbAnnotations: pairsToProto(c.ExtraLBAnnotations),
		HealthCheckConfig:  healthToProto(c.HealthCheckConfig),
		ResourceConfig:     resourceConfigToProto(c.ResourceConfig),
		Annotations:        markersToProto(c.Annotations),
		Labels:             markersToProto(c.Labels),
		Metrics:            metricsToProto(c.Metrics),
		Hooks:              hooksToProto(c.Hooks),
	}
}

func containerFromProto(p *agentv1.ContainerConfig) spec.Container {
	if p == nil {
		return spec.Container{}
	}
	return spec.Container{
		Name:               p.Name,
		Environment:        pairsFromProto(p.Environment),
		Secrets:            secretsFromProto(p.Secrets),
		Routing:            routingFromProto(p.Routing),
		Expose:             word[spec.Expose](p.Expose),
		User:               p.User,
		TTY:                p.Tty,
		WorkingDirectory:   p.WorkingDirectory,
		ConfigContainer:    configContainerFromProto(p.ConfigContainer),
		Ports:              portsFromProto(p.Ports),
		PortRanges:         portRangesFromProto(p.PortRanges),
		Volumes:            volumesFromProto(p.Volumes),
		Commands:           keysFromProto(p.Commands),
		Args:               keysFromProto(p.Args),
		InitContainers:     initContainersFromProto(p.InitContainers),
		Capabilities:       pairsFromProto(p.Capabilities),
		Storage:            storageFromProto(p.Storage),
		Replicas:           p.Replicas,
		LogConfig:          logConfigFromProto(p.LogConfig),
		RestartPolicy:      word[spec.RestartPolicy](p.RestartPolicy),
		NetworkMode:        word[spec.NetworkMode](p.NetworkMode),
		Networks:           keysFromProto(p.Networks),
		DockerLabels:       pairsFromProto(p.DockerLabels),
		ExpectedState:      expectedStateFromProto(p.ExpectedState),
		DeploymentStrategy: word[spec.DeploymentStrategy](p.DeploymentStrategy),
		CustomHeaders:      keysFromProto(p.CustomHeaders),
		ProxyHeaders:       p.ProxyHeaders,
		UseLoadBalancer:    p.UseLoadBalancer,
		ExtraLBAnnotations: pairsFromProto(p.ExtraLbAnnotations),
		HealthCheckConfig:  healthFromProto(p.HealthCheckConfig),
		ResourceConfig:     resourceConfigFromProto(p.ResourceConfig),
		Annotations:        markersFromProto(p.Annotations),
		Labels:             markersFromProto(p.Labels),
		Metrics:            metricsFromProto(p.Metrics),
		Hooks:              hooksFromProto(p.Hooks),
	}
}

// word converts an optional word between its string types.
func word[B, A ~string](a *A) *B {
	if a == nil {
		return nil
	}
	b := B(*a)
	return &b
}
