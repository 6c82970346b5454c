package teamapi

import "fairlead.dev/shared/spec"

func toKeyValue(kv spec.KeyValue) keyValue { return keyValue(kv) }

func fromKeyValue(kv keyValue) spec.KeyValue {
	kv.ID = idOr(kv.ID)
	return spec.KeyValue(kv)
}

func toKey(k spec.Key) configKey { return configKey(k) }

func fromKey(k configKey) spec.Key {
	k.ID = idOr(k.ID)
	return spec.Key(k)
}

func toSecretKey(s spec.Secret) secretKey {
	return secretKey{ID: s.ID, Key: s.Key, Required: s.Required}
}

func fromSecretKey(s secretKey) spec.Secret {
	return spec.Secret{ID: idOr(s.ID), Key: s.Key, Required: s.Required}
}

func toSealedSecret(s spec.Secret) sealedSecret { return sealedSecret(s) }

func fromSealedSecret(s sealedSecret) spec.Secret {
	s.ID = idOr(s.ID)
	return spec.Secret(s)
}

func toPort(p spec.Port) configPort {
	return configPort{ID: p.ID, Internal: p.Internal, External: some(p.External), Protocol: p.Protocol, Address: p.Address}
}

func fromPort(p configPort) spec.Port {
	return spec.Port{ID: idOr(p.ID), Internal: p.Internal, External: p.External.value, Protocol: p.Protocol, Address: p.Address}
}

func toPortRange(r spec.PortRange) configPortRange {
	return configPortRange{ID: r.ID, Internal: configRange(r.Internal), External: configRange(r.External), Protocol: r.Protocol}
}

func fromPortRange(r configPortRange) spec.PortRange {
	return spec.PortRange{ID: idOr(r.ID), Internal: spec.Range(r.Internal), External: spec.Range(r.External), Protocol: r.Protocol}
}

func toVolume(v spec.Volume) configVolume {
	d := configVolume{ID: v.ID, Name: v.Name, Path: v.Path, Size: v.Size, Class: v.Class}
	if v.Type != "" {
		d.Type = some(&v.Type)
	}
	return d
}

func fromVolume(d configVolume) spec.Volume {
	v := spec.Volume{ID: idOr(d.ID), Name: d.Name, Path: d.Path, Size: d.Size, Class: d.Class}
	if d.Type.value != nil {
		v.Type = *d.Type.value
	}
	return v
}

func toInitContainer(ic spec.InitContainer) configInitContainer {
	return configInitContainer{
		ID: ic.ID, Name: ic.Name, Image: ic.Image, UseParentConfig: ic.UseParentConfig,
		Command: each(ic.Command, toKey), Args: each(ic.Args, toKey), Environment: each(ic.Environment, toKeyValue),
		Volumes: each(ic.Volumes, func(v spec.VolumeLink) configVolumeLink { return configVolumeLink(v) }),
	}
}

func fromInitContainer(d configInitContainer) spec.InitContainer {
	return spec.InitContainer{
		ID: idOr(d.ID), Name: d.Name, Image: d.Image, UseParentConfig: d.UseParentConfig,
		Command: each(d.Command, fromKey), Args: each(d.Args, fromKey), Environment: each(d.Environment, fromKeyValue),
		Volumes: each(d.Volumes, func(v configVolumeLink) spec.VolumeLink {
			return spec.VolumeLink{ID: idOr(v.ID), Name: v.Name, Path: v.Path}
		}),
	}
}

func toLog(l spec.LogConfig) configLog {
	return configLog{Driver: l.Driver, Options: each(l.Options, toKeyValue)}
}

func fromLog(l configLog) spec.LogConfig {
	return spec.LogConfig{Driver: l.Driver, Options: each(l.Options, fromKeyValue)}
}

func toExpectedState(e spec.ExpectedState) configExpectedState {
	return configExpectedState{State: e.State, Timeout: e.TimeoutSeconds, ExitCode: e.ExitCode}
}

func fromExpectedState(e configExpectedState) spec.ExpectedState {
	return spec.ExpectedState{State: e.State, TimeoutSeconds: e.Timeout, ExitCode: e.ExitCode}
}

func toResources(r spec.ResourceConfig) configResources {
	to := func(q spec.Resources) configQuantities { return configQuantities(q) }
	return configResources{Limits: some(pointTo(r.Limits, to)), Requests: some(pointTo(r.Requests, to))}
}

func fromResources(r configResources) spec.ResourceConfig {
	from := func(q configQuantities) spec.Resources { return spec.Resources(q) }
	return spec.ResourceConfig{Limits: pointTo(r.Limits.value, from), Requests: pointTo(r.Requests.value, from)}
}

func toMarkers(m spec.Markers) configMarkers {
	return configMarkers{
		Deployment: some(listOf(m.Deployment, toKeyValue)),
		Service:    some(listOf(m.Service, toKeyValue)),
		Ingress:    some(listOf(m.Ingress, toKeyValue)),
	}
}

func toHooks(h spec.Hooks) configHooks {
	return configHooks{PreDeploy: some(pointTo(h.PreDeploy, toHook)), PostDeploy: some(pointTo(h.PostDeploy, toHook))}
}

func fromHooks(h configHooks) spec.Hooks {
	return spec.Hooks{PreDeploy: pointTo(h.PreDeploy.value, fromHook), PostDeploy: pointTo(h.PostDeploy.value, fromHook)}
}

func toHook(h spec.Hook) configHook {
	return configHook{Command: each(h.Command, toKey), Args: each(h.Args, toKey), TimeoutSeconds: h.TimeoutSeconds}
}

func fromHook(h configHook) spec.Hook {
	return spec.Hook{Command: each(h.Command, fromKey), Args: each(h.Args, fromKey), TimeoutSeconds: h.TimeoutSeconds}
}
