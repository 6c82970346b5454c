package specpb

import (
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/spec"
)

func routingToProto(r *spec.Routing) *agentv1.Routing {
	if r == nil {
		return nil
	}
	return &agentv1.Routing{
		Domain: r.Domain, Path: r.Path, StripPath: r.StripPath,
		UploadLimit: r.UploadLimit, Port: r.Port,
	}
}

func routingFromProto(p *agentv1.Routing) *spec.Routing {
	if p == nil {
		return nil
	}
	return &spec.Routing{
		Domain: p.GetDomain(), Path: p.GetPath(), StripPath: p.GetStripPath(),
		UploadLimit: p.GetUploadLimit(), Port: p.GetPort(),
	}
}

func configContainerToProto(c *spec.ConfigContainer) *agentv1.ConfigContainer {
	if c == nil {
		return nil
	}
	return &agentv1.ConfigContainer{Image: c.Image, Volume: c.Volume, Path: c.Path, KeepFiles: c.KeepFiles}
}

func configContainerFromProto(p *agentv1.ConfigContainer) *spec.ConfigContainer {
	if p == nil {
		return nil
	}
	return &spec.ConfigContainer{Image: p.GetImage(), Volume: p.GetVolume(), Path: p.GetPath(), KeepFiles: p.GetKeepFiles()}
}

func storageToProto(s *spec.Storage) *agentv1.Storage {
	if s == nil {
		return nil
	}
	return &agentv1.Storage{StorageId: s.StorageID, Path: s.Path, Bucket: s.Bucket, Url: s.URL, Keys: storageKeysToProto(s.Keys)}
}

func storageKeysToProto(k *spec.StorageKeys) *agentv1.StorageKeys {
	if k == nil {
		return nil
	}
	return &agentv1.StorageKeys{Access: k.Access, Secret: k.Secret}
}

func storageKeysFromProto(p *agentv1.StorageKeys) *spec.StorageKeys {
	if p == nil {
		return nil
	}
	return &spec.StorageKeys{Access: p.GetAccess(), Secret: p.GetSecret()}
}

func storageFromProto(p *agentv1.Storage) *spec.Storage {
	if p == nil {
		return nil
	}
	return &spec.Storage{StorageID: p.GetStorageId(), Path: p.GetPath(), Bucket: p.GetBucket(), URL: p.GetUrl(), Keys: storageKeysFromProto(p.GetKeys())}
}

func logConfigToProto(l *spec.LogConfig) *agentv1.LogConfig {
	if l == nil {
		return nil
	}
	return &agentv1.LogConfig{Driver: string(l.Driver), Options: pairsToProto(l.Options)}
}

func logConfigFromProto(p *agentv1.LogConfig) *spec.LogConfig {
	if p == nil {
		return nil
	}
	return &spec.LogConfig{Driver: spec.LogDriver(p.GetDriver()), Options: pairsFromProto(p.GetOptions())}
}

func expectedStateToProto(e *spec.ExpectedState) *agentv1.ExpectedState {
	if e == nil {
		return nil
	}
	return &agentv1.ExpectedState{State: string(e.State), TimeoutSeconds: e.TimeoutSeconds, ExitCode: e.ExitCode}
}

func expectedStateFromProto(p *agentv1.ExpectedState) *spec.ExpectedState {
	if p == nil {
		return nil
	}
	return &spec.ExpectedState{State: spec.ContainerState(p.GetState()), TimeoutSeconds: p.GetTimeoutSeconds(), ExitCode: p.GetExitCode()}
}

func healthToProto(h *spec.HealthCheckConfig) *agentv1.HealthCheckConfig {
	if h == nil {
		return nil
	}
	return &agentv1.HealthCheckConfig{
		Port: h.Port, LivenessProbe: h.LivenessProbe,
		ReadinessProbe: h.ReadinessProbe, StartupProbe: h.StartupProbe,
	}
}

func healthFromProto(p *agentv1.HealthCheckConfig) *spec.HealthCheckConfig {
	if p == nil {
		return nil
	}
	return &spec.HealthCheckConfig{
		Port: p.GetPort(), LivenessProbe: p.GetLivenessProbe(),
		ReadinessProbe: p.GetReadinessProbe(), StartupProbe: p.GetStartupProbe(),
	}
}

func resourceConfigToProto(r *spec.ResourceConfig) *agentv1.ResourceConfig {
	if r == nil {
		return nil
	}
	return &agentv1.ResourceConfig{Limits: resourcesToProto(r.Limits), Requests: resourcesToProto(r.Requests)}
}

func resourceConfigFromProto(p *agentv1.ResourceConfig) *spec.ResourceConfig {
	if p == nil {
		return nil
	}
	return &spec.ResourceConfig{Limits: resourcesFromProto(p.GetLimits()), Requests: resourcesFromProto(p.GetRequests())}
}

func resourcesToProto(r *spec.Resources) *agentv1.Resources {
	if r == nil {
		return nil
	}
	return &agentv1.Resources{Cpu: r.CPU, Memory: r.Memory}
}

func resourcesFromProto(p *agentv1.Resources) *spec.Resources {
	if p == nil {
		return nil
	}
	return &spec.Resources{CPU: p.GetCpu(), Memory: p.GetMemory()}
}

func markersToProto(m *spec.Markers) *agentv1.Markers {
	if m == nil {
		return nil
	}
	return &agentv1.Markers{
		Deployment: pairsToProto(m.Deployment),
		Service:    pairsToProto(m.Service),
		Ingress:    pairsToProto(m.Ingress),
	}
}

func markersFromProto(p *agentv1.Markers) *spec.Markers {
	if p == nil {
		return nil
	}
	return &spec.Markers{
		Deployment: pairsFromProto(p.GetDeployment()),
		Service:    pairsFromProto(p.GetService()),
		Ingress:    pairsFromProto(p.GetIngress()),
	}
}

func metricsToProto(m *spec.Metrics) *agentv1.Metrics {
	if m == nil {
		return nil
	}
	return &agentv1.Metrics{Enabled: m.Enabled, Path: m.Path, Port: m.Port}
}

func metricsFromProto(p *agentv1.Metrics) *spec.Metrics {
	if p == nil {
		return nil
	}
	return &spec.Metrics{Enabled: p.GetEnabled(), Path: p.GetPath(), Port: p.GetPort()}
}
