package spec_test

import (
	"pgregory.net/rapid"

	"fairlead.dev/shared/spec"
)

// Generators of arbitrary specs: small alphabets, so that names and ids
// collide and rules are both kept and broken.

func words() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "a", "b", "web", "db-1", "/data", "UPPER", "a b", "10m", "\x00"})
}

func optional[T any](g *rapid.Generator[T]) *rapid.Generator[*T] { return rapid.Ptr(g, true) }

// said draws a list that is absent, empty or has entries.
func said[T any](g *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.OneOf(rapid.Just([]T(nil)), rapid.SliceOfN(g, 0, 3))
}

func enums[T ~string](values []T) *rapid.Generator[T] {
	return rapid.SampledFrom(append([]T{"", "unheard-of"}, values...))
}

func structs[T any](fill func(t *rapid.T) T) *rapid.Generator[T] { return rapid.Custom(fill) }

func pairs() *rapid.Generator[spec.KeyValue] {
	return structs(func(t *rapid.T) spec.KeyValue {
		return spec.KeyValue{ID: words().Draw(t, "id"), Key: words().Draw(t, "key"), Value: words().Draw(t, "value")}
	})
}

func keys() *rapid.Generator[spec.Key] {
	return structs(func(t *rapid.T) spec.Key {
		return spec.Key{ID: words().Draw(t, "id"), Key: words().Draw(t, "key")}
	})
}

func secrets() *rapid.Generator[spec.Secret] {
	return structs(func(t *rapid.T) spec.Secret {
		return spec.Secret{
			ID: words().Draw(t, "id"), Key: words().Draw(t, "key"), Required: rapid.Bool().Draw(t, "required"),
			Value: words().Draw(t, "value"), Encrypted: rapid.Bool().Draw(t, "encrypted"),
		}
	})
}

func portNumbers() *rapid.Generator[int32] {
	return rapid.SampledFrom([]int32{-2147483648, -1, 0, 1, 80, 81, 65535, 65536, 2147483647})
}

func protocols() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "tcp", "udp", "sctp"})
}

func ranges() *rapid.Generator[spec.Range] {
	return structs(func(t *rapid.T) spec.Range {
		return spec.Range{From: portNumbers().Draw(t, "from"), To: portNumbers().Draw(t, "to")}
	})
}

func markers() *rapid.Generator[spec.Markers] {
	return structs(func(t *rapid.T) spec.Markers {
		return spec.Markers{
			Deployment: said(pairs()).Draw(t, "deployment"),
			Service:    said(pairs()).Draw(t, "service"),
			Ingress:    said(pairs()).Draw(t, "ingress"),
		}
	})
}

func resources() *rapid.Generator[spec.Resources] {
	return structs(func(t *rapid.T) spec.Resources {
		return spec.Resources{CPU: words().Draw(t, "cpu"), Memory: words().Draw(t, "memory")}
	})
}

func containers() *rapid.Generator[spec.Container] {
	return structs(func(t *rapid.T) spec.Container {
		return spec.Container{
			Name:             optional(words()).Draw(t, "name"),
			Environment:      said(pairs()).Draw(t, "environment"),
			Secrets:          said(secrets()).Draw(t, "secrets"),
			Expose:           optional(enums(spec.Expose("").Values())).Draw(t, "expose"),
			User:             optional(rapid.Int64()).Draw(t, "user"),
			TTY:              optional(rapid.Bool()).Draw(t, "tty"),
			WorkingDirectory: optional(words()).Draw(t, "workingDirectory"),
			Routing: optional(structs(func(t *rapid.T) spec.Routing {
				return spec.Routing{Domain: words().Draw(t, "domain"), Port: portNumbers().Draw(t, "port")}
			})).Draw(t, "routing"),
			ConfigContainer: optional(structs(func(t *rapid.T) spec.ConfigContainer {
				return spec.ConfigContainer{Image: words().Draw(t, "image"), Volume: words().Draw(t, "volume")}
			})).Draw(t, "configContainer"),
			Ports: said(structs(func(t *rapid.T) spec.Port {
				return spec.Port{
					ID: words().Draw(t, "id"), Internal: portNumbers().Draw(t, "internal"),
					External: optional(portNumbers()).Draw(t, "external"), Protocol: protocols().Draw(t, "protocol"),
					Address: words().Draw(t, "address"),
				}
			})).Draw(t, "ports"),
			PortRanges: said(structs(func(t *rapid.T) spec.PortRange {
				return spec.PortRange{
					Internal: ranges().Draw(t, "internal"), External: ranges().Draw(t, "external"),
					Protocol: protocols().Draw(t, "protocol"),
				}
			})).Draw(t, "portRanges"),
			Volumes: said(structs(func(t *rapid.T) spec.Volume {
				return spec.Volume{
					Name: words().Draw(t, "name"), Path: words().Draw(t, "path"), Size: words().Draw(t, "size"),
					Type: enums(spec.VolumeType("").Values()).Draw(t, "type"),
				}
			})).Draw(t, "volumes"),
			Commands: said(keys()).Draw(t, "commands"),
			Args:     said(keys()).Draw(t, "args"),
			InitContainers: said(structs(func(t *rapid.T) spec.InitContainer {
				return spec.InitContainer{Name: words().Draw(t, "name"), Image: words().Draw(t, "image"), Args: said(keys()).Draw(t, "args")}
			})).Draw(t, "initContainers"),
			Capabilities: said(pairs()).Draw(t, "capabilities"),
			Replicas:     optional(portNumbers()).Draw(t, "replicas"),
			Hooks: optional(structs(func(t *rapid.T) spec.Hooks {
				hook := optional(structs(func(t *rapid.T) spec.Hook {
					return spec.Hook{Command: said(keys()).Draw(t, "command"), TimeoutSeconds: portNumbers().Draw(t, "timeout")}
				}))
				return spec.Hooks{PreDeploy: hook.Draw(t, "preDeploy"), PostDeploy: hook.Draw(t, "postDeploy")}
			})).Draw(t, "hooks"),
			LogConfig: optional(structs(func(t *rapid.T) spec.LogConfig {
				return spec.LogConfig{Driver: enums(spec.LogDriver("").Values()).Draw(t, "driver"), Options: said(pairs()).Draw(t, "options")}
			})).Draw(t, "logConfig"),
			RestartPolicy:      optional(enums(spec.RestartPolicy("").Values())).Draw(t, "restartPolicy"),
			NetworkMode:        optional(enums(spec.NetworkMode("").Values())).Draw(t, "networkMode"),
			Networks:           said(keys()).Draw(t, "networks"),
			DockerLabels:       said(pairs()).Draw(t, "dockerLabels"),
			DeploymentStrategy: optional(enums(spec.DeploymentStrategy("").Values())).Draw(t, "deploymentStrategy"),
			ProxyHeaders:       optional(rapid.Bool()).Draw(t, "proxyHeaders"),
			HealthCheckConfig: optional(structs(func(t *rapid.T) spec.HealthCheckConfig {
				return spec.HealthCheckConfig{Port: portNumbers().Draw(t, "port"), LivenessProbe: words().Draw(t, "liveness")}
			})).Draw(t, "healthCheckConfig"),
			ResourceConfig: optional(structs(func(t *rapid.T) spec.ResourceConfig {
				return spec.ResourceConfig{Limits: optional(resources()).Draw(t, "limits"), Requests: optional(resources()).Draw(t, "requests")}
			})).Draw(t, "resourceConfig"),
			Annotations: optional(markers()).Draw(t, "annotations"),
			Labels:      optional(markers()).Draw(t, "labels"),
		}
	})
}

func deployments() *rapid.Generator[spec.Deployment] {
	return structs(func(t *rapid.T) spec.Deployment {
		return spec.Deployment{
			ID: words().Draw(t, "id"), Prefix: words().Draw(t, "prefix"), Release: rapid.Int64().Draw(t, "release"),
			Workloads: said(structs(func(t *rapid.T) spec.Workload {
				return spec.Workload{
					InstanceID: words().Draw(t, "instance"), Image: spec.Image{Reference: words().Draw(t, "reference")},
					Container: containers().Draw(t, "container"),
				}
			})).Draw(t, "workloads"),
		}
	})
}
