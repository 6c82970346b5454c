// Package specpb converts between the domain's types and the agent protocol's
// messages: the deployment spec, what is seen of it, and the hash of an
// assignment set. It is the only place where the two meet. What comes from the
// wire is checked for size; whether a spec makes sense is spec.Validate's to
// say.
package specpb

import (
	"fmt"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// DeploymentToProto returns the deployment as it goes to a node, registry
// credentials included.
func DeploymentToProto(d spec.Deployment) *agentv1.Deployment {
	return &agentv1.Deployment{
		Id:        d.ID,
		Prefix:    d.Prefix,
		Release:   d.Release,
		Policy:    policyToProto(d.Policy),
		Workloads: convert(d.Workloads, workloadToProto),
		Adopt:     convert(d.Adopt, adoptionToProto),
	}
}

func adoptionToProto(a spec.Adoption) *agentv1.Adoption {
	return &agentv1.Adoption{InstanceId: a.InstanceID, Container: a.Container}
}

func adoptionFromProto(p *agentv1.Adoption) spec.Adoption {
	return spec.Adoption{InstanceID: p.GetInstanceId(), Container: p.GetContainer()}
}

// policyToProto leaves out a policy that says nothing, so that sets made before
// there were policies keep their hashes.
func policyToProto(p spec.Policy) *agentv1.Policy {
	if p == (spec.Policy{}) {
		return nil
	}
	return &agentv1.Policy{
		OnFailure:           string(p.OnFailure),
		HealthWindowSeconds: p.HealthWindowSeconds,
		DrainSeconds:        p.DrainSeconds,
		Parallelism:         p.Parallelism,
		Drift:               string(p.Drift),
	}
}

func policyFromProto(p *agentv1.Policy) spec.Policy {
	return spec.Policy{
		OnFailure:           spec.OnFailure(p.GetOnFailure()),
		HealthWindowSeconds: p.GetHealthWindowSeconds(),
		DrainSeconds:        p.GetDrainSeconds(),
		Parallelism:         p.GetParallelism(),
		Drift:               spec.Drift(p.GetDrift()),
	}
}

// DeploymentFromProto reads a deployment. It fails with Invalid, naming the
// field, when something in it is larger than a spec may be.
func DeploymentFromProto(p *agentv1.Deployment) (spec.Deployment, error) {
	if p == nil {
		return spec.Deployment{}, apperr.New(apperr.Invalid, "the message holds no deployment")
	}
	if n := len(p.GetWorkloads()); n > spec.MaxWorkloads {
		return spec.Deployment{}, apperr.InvalidField("workloads", n, "at most %d workloads", spec.MaxWorkloads)
	}
	if err := checkSize(p, spec.MaxListEntries, spec.MaxValueLength); err != nil {
		return spec.Deployment{}, fmt.Errorf("read deployment %.64q: %w", p.GetId(), err)
	}
	return DeploymentFromStored(p), nil
}

// DeploymentFromStored reads a deployment that was made by DeploymentToProto of
// a valid one and has been in nobody else's hands since.
func DeploymentFromStored(p *agentv1.Deployment) spec.Deployment {
	return spec.Deployment{
		ID:        p.GetId(),
		Prefix:    p.GetPrefix(),
		Release:   p.GetRelease(),
		Policy:    policyFromProto(p.GetPolicy()),
		Workloads: convert(p.GetWorkloads(), workloadFromProto),
		Adopt:     convert(p.GetAdopt(), adoptionFromProto),
	}
}

func workloadToProto(w spec.Workload) *agentv1.Workload {
	return &agentv1.Workload{
		InstanceId: w.InstanceID,
		Image: &agentv1.Image{
			Reference:  w.Image.Reference,
			RegistryId: w.Image.RegistryID,
			Auth:       authToProto(w.Image.Auth),
		},
		Container: containerToProto(w.Container),
		Hash:      w.Hash,
	}
}

func workloadFromProto(p *agentv1.Workload) spec.Workload {
	return spec.Workload{
		InstanceID: p.GetInstanceId(),
		Image: spec.Image{
			Reference:  p.GetImage().GetReference(),
			RegistryID: p.GetImage().GetRegistryId(),
			Auth:       authFromProto(p.GetImage().GetAuth()),
		},
		Container: containerFromProto(p.GetContainer()),
		Hash:      p.GetHash(),
	}
}

func authToProto(a *spec.RegistryAuth) *agentv1.RegistryAuth {
	if a == nil {
		return nil
	}
	return &agentv1.RegistryAuth{Server: a.Server, Username: a.Username, Password: a.Password}
}

func authFromProto(p *agentv1.RegistryAuth) *spec.RegistryAuth {
	if p == nil {
		return nil
	}
	return &spec.RegistryAuth{Server: p.GetServer(), Username: p.GetUsername(), Password: p.GetPassword()}
}

// convert maps a list; an empty one becomes nil.
func convert[A, B any](list []A, f func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, item := range list {
		out[i] = f(item)
	}
	return out
}

// convertSaid maps a list whose nil means "not said" and whose empty value
// means "said to be none"; it keeps the two apart.
func convertSaid[A, B any](list []A, f func(A) B) []B {
	if list == nil {
		return nil
	}
	out := make([]B, len(list))
	for i, item := range list {
		out[i] = f(item)
	}
	return out
}
