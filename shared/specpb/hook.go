package specpb

import (
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/spec"
)

func hooksToProto(h *spec.Hooks) *agentv1.Hooks {
	if h == nil {
		return nil
	}
	return &agentv1.Hooks{PreDeploy: hookToProto(h.PreDeploy), PostDeploy: hookToProto(h.PostDeploy)}
}

func hooksFromProto(p *agentv1.Hooks) *spec.Hooks {
	if p == nil {
		return nil
	}
	return &spec.Hooks{PreDeploy: hookFromProto(p.GetPreDeploy()), PostDeploy: hookFromProto(p.GetPostDeploy())}
}

func hookToProto(h *spec.Hook) *agentv1.Hook {
	if h == nil {
		return nil
	}
	return &agentv1.Hook{Command: keysToProto(h.Command), Args: keysToProto(h.Args), TimeoutSeconds: h.TimeoutSeconds}
}

func hookFromProto(p *agentv1.Hook) *spec.Hook {
	if p == nil {
		return nil
	}
	return &spec.Hook{Command: keysFromProto(p.GetCommand()), Args: keysFromProto(p.GetArgs()), TimeoutSeconds: p.GetTimeoutSeconds()}
}
