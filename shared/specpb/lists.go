package specpb

import (
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/spec"
)

// Lists on the wire are messages of their own, so that an absent list (nil)
// and an empty one stay apart.

func pairsToProto(list []spec.KeyValue) *agentv1.KeyValues {
	if list == nil {
		return nil
	}
	return &agentv1.KeyValues{Items: convertSaid(list, func(p spec.KeyValue) *agentv1.KeyValue {
		return &agentv1.KeyValue{Id: p.ID, Key: p.Key, Value: p.Value}
	})}
}

func pairsFromProto(p *agentv1.KeyValues) []spec.KeyValue {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(p *agentv1.KeyValue) spec.KeyValue {
		return spec.KeyValue{ID: p.GetId(), Key: p.GetKey(), Value: p.GetValue()}
	}))
}

func keysToProto(list []spec.Key) *agentv1.Keys {
	if list == nil {
		return nil
	}
	return &agentv1.Keys{Items: convertSaid(list, func(k spec.Key) *agentv1.Key {
		return &agentv1.Key{Id: k.ID, Key: k.Key}
	})}
}

func keysFromProto(p *agentv1.Keys) []spec.Key {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(k *agentv1.Key) spec.Key {
		return spec.Key{ID: k.GetId(), Key: k.GetKey()}
	}))
}

func secretsToProto(list []spec.Secret) *agentv1.Secrets {
	if list == nil {
		return nil
	}
	return &agentv1.Secrets{Items: convertSaid(list, func(s spec.Secret) *agentv1.Secret {
		return &agentv1.Secret{
			Id: s.ID, Key: s.Key, Required: s.Required,
			Value: s.Value, Encrypted: s.Encrypted, PublicKey: s.PublicKey,
		}
	})}
}

func secretsFromProto(p *agentv1.Secrets) []spec.Secret {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(s *agentv1.Secret) spec.Secret {
		return spec.Secret{
			ID: s.GetId(), Key: s.GetKey(), Required: s.GetRequired(),
			Value: s.GetValue(), Encrypted: s.GetEncrypted(), PublicKey: s.GetPublicKey(),
		}
	}))
}

func portsToProto(list []spec.Port) *agentv1.Ports {
	if list == nil {
		return nil
	}
	return &agentv1.Ports{Items: convertSaid(list, func(q spec.Port) *agentv1.Port {
		return &agentv1.Port{Id: q.ID, Internal: q.Internal, External: q.External, Protocol: q.Protocol, Address: q.Address}
	})}
}

func portsFromProto(p *agentv1.Ports) []spec.Port {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(q *agentv1.Port) spec.Port {
		return spec.Port{ID: q.GetId(), Internal: q.GetInternal(), External: q.External, Protocol: q.GetProtocol(), Address: q.GetAddress()}
	}))
}

func portRangesToProto(list []spec.PortRange) *agentv1.PortRanges {
	if list == nil {
		return nil
	}
	return &agentv1.PortRanges{Items: convertSaid(list, func(r spec.PortRange) *agentv1.PortRange {
		return &agentv1.PortRange{Id: r.ID, Internal: rangeToProto(r.Internal), External: rangeToProto(r.External), Protocol: r.Protocol}
	})}
}

func portRangesFromProto(p *agentv1.PortRanges) []spec.PortRange {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(r *agentv1.PortRange) spec.PortRange {
		return spec.PortRange{ID: r.GetId(), Internal: rangeFromProto(r.GetInternal()), External: rangeFromProto(r.GetExternal()), Protocol: r.GetProtocol()}
	}))
}

func volumesToProto(list []spec.Volume) *agentv1.Volumes {
	if list == nil {
		return nil
	}
	return &agentv1.Volumes{Items: convertSaid(list, func(v spec.Volume) *agentv1.Volume {
		return &agentv1.Volume{
			Id: v.ID, Name: v.Name, Path: v.Path,
			Size: v.Size, Type: string(v.Type), Class: v.Class,
		}
	})}
}

func volumesFromProto(p *agentv1.Volumes) []spec.Volume {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(v *agentv1.Volume) spec.Volume {
		return spec.Volume{
			ID: v.GetId(), Name: v.GetName(), Path: v.GetPath(),
			Size: v.GetSize(), Type: spec.VolumeType(v.GetType()), Class: v.GetClass(),
		}
	}))
}

func initContainersToProto(list []spec.InitContainer) *agentv1.InitContainers {
	if list == nil {
		return nil
	}
	return &agentv1.InitContainers{Items: convertSaid(list, func(c spec.InitContainer) *agentv1.InitContainer {
		return &agentv1.InitContainer{
			Id: c.ID, Name: c.Name, Image: c.Image,
			Command: keysToProto(c.Command), Args: keysToProto(c.Args), Environment: pairsToProto(c.Environment),
			UseParentConfig: c.UseParentConfig, Volumes: convert(c.Volumes, volumeLinkToProto),
		}
	})}
}

func initContainersFromProto(p *agentv1.InitContainers) []spec.InitContainer {
	if p == nil {
		return nil
	}
	return said(convertSaid(p.GetItems(), func(c *agentv1.InitContainer) spec.InitContainer {
		return spec.InitContainer{
			ID: c.GetId(), Name: c.GetName(), Image: c.GetImage(),
			Command: keysFromProto(c.GetCommand()), Args: keysFromProto(c.GetArgs()), Environment: pairsFromProto(c.GetEnvironment()),
			UseParentConfig: c.GetUseParentConfig(), Volumes: convert(c.GetVolumes(), volumeLinkFromProto),
		}
	}))
}

func rangeToProto(r spec.Range) *agentv1.Range {
	return &agentv1.Range{From: r.From, To: r.To}
}

func rangeFromProto(p *agentv1.Range) spec.Range {
	return spec.Range{From: p.GetFrom(), To: p.GetTo()}
}

func volumeLinkToProto(v spec.VolumeLink) *agentv1.VolumeLink {
	return &agentv1.VolumeLink{Id: v.ID, Name: v.Name, Path: v.Path}
}

func volumeLinkFromProto(p *agentv1.VolumeLink) spec.VolumeLink {
	return spec.VolumeLink{ID: p.GetId(), Name: p.GetName(), Path: p.GetPath()}
}

// said turns the nil that the wire makes of an empty list back into one that
// was said to be empty.
func said[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
