package spec

import "slices"

// Merge lays an instance's configuration over its image's. What the instance
// says replaces what the image says, key by key and lists whole, with three
// exceptions: secrets are joined by id and by key, labels and annotations are replaced
// per kind of object, and the name "not said" (nil) never replaces anything.
// It changes neither argument. The rules are those of the team API's
// reference implementation.
func Merge(image, instance Container) Container {
	m := image
	override(&m.Name, instance.Name)
	overrideList(&m.Environment, instance.Environment)
	m.Secrets = mergeSecrets(image.Secrets, instance.Secrets)
	override(&m.Routing, instance.Routing)
	override(&m.Expose, instance.Expose)
	override(&m.User, instance.User)
	override(&m.TTY, instance.TTY)
	override(&m.WorkingDirectory, instance.WorkingDirectory)
	override(&m.ConfigContainer, instance.ConfigContainer)
	overrideList(&m.Ports, instance.Ports)
	overrideList(&m.PortRanges, instance.PortRanges)
	overrideList(&m.Volumes, instance.Volumes)
	overrideList(&m.Commands, instance.Commands)
	overrideList(&m.Args, instance.Args)
	overrideList(&m.InitContainers, instance.InitContainers)
	overrideList(&m.Capabilities, instance.Capabilities)
	override(&m.Storage, instance.Storage)
	override(&m.Replicas, instance.Replicas)
	override(&m.Hooks, instance.Hooks)
	override(&m.LogConfig, instance.LogConfig)
	override(&m.RestartPolicy, instance.RestartPolicy)
	override(&m.NetworkMode, instance.NetworkMode)
	overrideList(&m.Networks, instance.Networks)
	overrideList(&m.DockerLabels, instance.DockerLabels)
	override(&m.ExpectedState, instance.ExpectedState)
	override(&m.DeploymentStrategy, instance.DeploymentStrategy)
	overrideList(&m.CustomHeaders, instance.CustomHeaders)
	override(&m.ProxyHeaders, instance.ProxyHeaders)
	override(&m.UseLoadBalancer, instance.UseLoadBalancer)
	overrideList(&m.ExtraLBAnnotations, instance.ExtraLBAnnotations)
	override(&m.HealthCheckConfig, instance.HealthCheckConfig)
	override(&m.ResourceConfig, instance.ResourceConfig)
	m.Annotations = mergeMarkers(image.Annotations, instance.Annotations)
	m.Labels = mergeMarkers(image.Labels, instance.Labels)
	override(&m.Metrics, instance.Metrics)
	return m
}

// WithEnvironment lays the container's environment over a weaker one, by key;
// the weaker keys come first.
func WithEnvironment(weak []KeyValue, c Container) Container {
	if len(weak) == 0 {
		return c
	}
	strong := make(map[string]bool, len(c.Environment))
	for _, kv := range c.Environment {
		strong[kv.Key] = true
	}
	var env []KeyValue
	for _, kv := range weak {
		if !strong[kv.Key] {
			env = append(env, kv)
		}
	}
	c.Environment = append(env, c.Environment...)
	return c
}

func override[T any](dst **T, src *T) {
	if src != nil {
		*dst = src
	}
}

func overrideList[T any](dst *[]T, src []T) {
	if src != nil {
		*dst = src
	}
}

func mergeSecrets(image, instance []Secret) []Secret {
	if image == nil && instance == nil {
		return nil
	}
	merged := slices.Clone(instance)
	for _, s := range image {
		known := false
		for i := range instance {
			same := merged[i].Key == s.Key
			known = known || same || merged[i].ID == s.ID
			// What an image can't do without, no instance makes optional.
			merged[i].Required = merged[i].Required || same && s.Required
		}
		if !known {
			merged = append(merged, s)
		}
	}
	if merged == nil {
		merged = []Secret{}
	}
	return merged
}

func mergeMarkers(image, instance *Markers) *Markers {
	switch {
	case instance == nil:
		return image
	case image == nil:
		return instance
	}
	m := *image
	overrideList(&m.Deployment, instance.Deployment)
	overrideList(&m.Service, instance.Service)
	overrideList(&m.Ingress, instance.Ingress)
	return &m
}
