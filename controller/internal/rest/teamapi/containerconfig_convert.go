package teamapi

import (
	"github.com/google/uuid"

	"fairlead.dev/shared/spec"
)

// toImageConfig returns an image's configuration as a document with every key,
// whatever was said about it: words, numbers and flags are their defaults, lists
// empty, and objects null. Nothing lies under an image, so that sending the
// document back changes nothing.
func toImageConfig(c spec.Container) imageConfig {
	c = c.WithDefaults()
	if c.User == nil {
		c.User = new(spec.ImageUser)
	}
	d := imageConfig{Secrets: some(listOf(c.Secrets, toSecretKey)), ContainerConfig: withLists(toContainerConfig(c))}
	orEmpty(&d.Secrets)
	return d
}

// toInstanceConfig returns what an instance says beyond its image, with every
// key. What it leaves to the image is null, lists too: an empty list is one
// that the instance emptied.
func toInstanceConfig(c spec.Container) instanceConfig {
	return instanceConfig{Secrets: some(listOf(c.Secrets, toSealedSecret)), ContainerConfig: toContainerConfig(c)}
}

// apply merges the document into an image's configuration: a key that is
// absent leaves what is there, null clears it, and a value replaces it whole.
// Only labels and annotations are merged list by list.
func (d imageConfig) apply(c *spec.Container) {
	assignList(d.Secrets, &c.Secrets, fromSecretKey)
	d.ContainerConfig.apply(c)
}

// apply merges the document into an instance's configuration, by the same
// rules as an image's.
func (d instanceConfig) apply(c *spec.Container) {
	assignList(d.Secrets, &c.Secrets, fromSealedSecret)
	d.ContainerConfig.apply(c)
}

func toContainerConfig(c spec.Container) ContainerConfig {
	return ContainerConfig{
		Name:             some(c.Name),
		Environment:      some(listOf(c.Environment, toKeyValue)),
		Routing:          some(pointTo(c.Routing, func(r spec.Routing) configRouting { return configRouting(r) })),
		Expose:           some(c.Expose),
		User:             some(c.User),
		TTY:              some(c.TTY),
		WorkingDirectory: some(c.WorkingDirectory),
		ConfigContainer:  some(pointTo(c.ConfigContainer, func(cc spec.ConfigContainer) configContainer { return configContainer(cc) })),
		Ports:            some(listOf(c.Ports, toPort)),
		PortRanges:       some(listOf(c.PortRanges, toPortRange)),
		Volumes:          some(listOf(c.Volumes, toVolume)),
		Commands:         some(listOf(c.Commands, toKey)),
		Args:             some(listOf(c.Args, toKey)),
		InitContainers:   some(listOf(c.InitContainers, toInitContainer)),
		Capabilities:     some(listOf(c.Capabilities, toKeyValue)),
		Storage: some(pointTo(c.Storage, func(s spec.Storage) configStorage {
			return configStorage{StorageID: s.StorageID, Path: s.Path, Bucket: s.Bucket}
		})),
		Replicas:           some(c.Replicas),
		Hooks:              some(pointTo(c.Hooks, toHooks)),
		LogConfig:          some(pointTo(c.LogConfig, toLog)),
		RestartPolicy:      some(c.RestartPolicy),
		NetworkMode:        some(c.NetworkMode),
		Networks:           some(listOf(c.Networks, toKey)),
		DockerLabels:       some(listOf(c.DockerLabels, toKeyValue)),
		ExpectedState:      some(pointTo(c.ExpectedState, toExpectedState)),
		DeploymentStrategy: some(c.DeploymentStrategy),
		CustomHeaders:      some(listOf(c.CustomHeaders, toKey)),
		ProxyHeaders:       some(c.ProxyHeaders),
		UseLoadBalancer:    some(c.UseLoadBalancer),
		ExtraLBAnnotations: some(listOf(c.ExtraLBAnnotations, toKeyValue)),
		HealthCheckConfig:  some(pointTo(c.HealthCheckConfig, func(h spec.HealthCheckConfig) configHealthCheck { return configHealthCheck(h) })),
		ResourceConfig:     some(pointTo(c.ResourceConfig, toResources)),
		Annotations:        some(pointTo(c.Annotations, toMarkers)),
		Labels:             some(pointTo(c.Labels, toMarkers)),
		Metrics:            some(pointTo(c.Metrics, func(m spec.Metrics) configMetrics { return configMetrics(m) })),
	}
}

func (d ContainerConfig) apply(c *spec.Container) {
	assign(d.Name, &c.Name)
	assignList(d.Environment, &c.Environment, fromKeyValue)
	assignAs(d.Routing, &c.Routing, func(r configRouting) spec.Routing { return spec.Routing(r) })
	assign(d.Expose, &c.Expose)
	assign(d.User, &c.User)
	assign(d.TTY, &c.TTY)
	assign(d.WorkingDirectory, &c.WorkingDirectory)
	assignAs(d.ConfigContainer, &c.ConfigContainer, func(cc configContainer) spec.ConfigContainer { return spec.ConfigContainer(cc) })
	assignList(d.Ports, &c.Ports, fromPort)
	assignList(d.PortRanges, &c.PortRanges, fromPortRange)
	assignList(d.Volumes, &c.Volumes, fromVolume)
	assignList(d.Commands, &c.Commands, fromKey)
	assignList(d.Args, &c.Args, fromKey)
	assignList(d.InitContainers, &c.InitContainers, fromInitContainer)
	assignList(d.Capabilities, &c.Capabilities, fromKeyValue)
	assignAs(d.Storage, &c.Storage, func(s configStorage) spec.Storage {
		return spec.Storage{StorageID: s.StorageID, Path: s.Path, Bucket: s.Bucket}
	})
	assign(d.Replicas, &c.Replicas)
	assignAs(d.Hooks, &c.Hooks, fromHooks)
	assignAs(d.LogConfig, &c.LogConfig, fromLog)
	assign(d.RestartPolicy, &c.RestartPolicy)
	assign(d.NetworkMode, &c.NetworkMode)
	assignList(d.Networks, &c.Networks, fromKey)
	assignList(d.DockerLabels, &c.DockerLabels, fromKeyValue)
	assignAs(d.ExpectedState, &c.ExpectedState, fromExpectedState)
	assign(d.DeploymentStrategy, &c.DeploymentStrategy)
	assignList(d.CustomHeaders, &c.CustomHeaders, fromKey)
	assign(d.ProxyHeaders, &c.ProxyHeaders)
	assign(d.UseLoadBalancer, &c.UseLoadBalancer)
	assignList(d.ExtraLBAnnotations, &c.ExtraLBAnnotations, fromKeyValue)
	assignAs(d.HealthCheckConfig, &c.HealthCheckConfig, func(h configHealthCheck) spec.HealthCheckConfig { return spec.HealthCheckConfig(h) })
	assignAs(d.ResourceConfig, &c.ResourceConfig, fromResources)
	assignMarkers(d.Annotations, &c.Annotations)
	assignMarkers(d.Labels, &c.Labels)
	assignAs(d.Metrics, &c.Metrics, func(m configMetrics) spec.Metrics { return spec.Metrics(m) })
}

// withLists makes every list that is null an empty one.
func withLists(d ContainerConfig) ContainerConfig {
	orEmpty(&d.Environment, &d.Capabilities, &d.DockerLabels, &d.ExtraLBAnnotations)
	orEmpty(&d.Commands, &d.Args, &d.Networks, &d.CustomHeaders)
	orEmpty(&d.Ports)
	orEmpty(&d.PortRanges)
	orEmpty(&d.Volumes)
	orEmpty(&d.InitContainers)
	for _, markers := range []*configMarkers{d.Annotations.value, d.Labels.value} {
		if markers != nil {
			orEmpty(&markers.Deployment, &markers.Service, &markers.Ingress)
		}
	}
	return d
}

func orEmpty[T any](lists ...*optional[[]T]) {
	for _, list := range lists {
		if list.value == nil {
			list.value = &[]T{}
		}
	}
}

// listOf converts a list for an answer; nil when nothing was said.
func listOf[S, D any](list []S, to func(S) D) *[]D {
	if list == nil {
		return nil
	}
	converted := each(list, to)
	return &converted
}

// each converts the entries of a list; the result is never nil.
func each[S, D any](list []S, to func(S) D) []D {
	converted := make([]D, len(list))
	for i, item := range list {
		converted[i] = to(item)
	}
	return converted
}

func pointTo[S, D any](p *S, to func(S) D) *D {
	if p == nil {
		return nil
	}
	converted := to(*p)
	return &converted
}

func assign[T any](from optional[T], dst **T) {
	if from.present {
		*dst = from.value
	}
}

func assignAs[D, S any](from optional[D], dst **S, to func(D) S) {
	if from.present {
		*dst = pointTo(from.value, to)
	}
}

func assignList[D, S any](from optional[[]D], dst *[]S, to func(D) S) {
	switch {
	case !from.present:
	case from.value == nil:
		*dst = nil
	default:
		*dst = each(*from.value, to)
	}
}

func assignMarkers(from optional[configMarkers], dst **spec.Markers) {
	if !from.present {
		return
	}
	if from.value == nil {
		*dst = nil
		return
	}
	var merged spec.Markers
	if *dst != nil {
		merged = **dst
	}
	assignList(from.value.Deployment, &merged.Deployment, fromKeyValue)
	assignList(from.value.Service, &merged.Service, fromKeyValue)
	assignList(from.value.Ingress, &merged.Ingress, fromKeyValue)
	*dst = &merged
}

// idOr returns the client's id of a list entry, or a new one.
func idOr(id listID) listID {
	if id == "" {
		return uuid.NewString()
	}
	return id
}
