package spec

// Limits of hooks, in seconds.
const (
	DefaultHookTimeoutSeconds = 600
	MaxHookTimeoutSeconds     = 24 * 60 * 60
)

// Hooks are commands that are run to their end once for a release of a workload,
// however many replicas it has, each in a container of its own that is as the
// workload's containers: the same image, environment, secrets, networks and
// volumes.
type Hooks struct {
	// PreDeploy runs before the release touches anything that serves. The
	// release fails when it does.
	PreDeploy *Hook
	// PostDeploy runs when the release is in place and the one before it has
	// ended. Its failure is told and does not make the release fail.
	PostDeploy *Hook
}

// Hook is one command.
type Hook struct {
	// Command replaces the image's entrypoint, Args its command; one of them at
	// least says something.
	Command []Key
	Args    []Key
	// TimeoutSeconds bounds how long it runs; 0 means DefaultHookTimeoutSeconds.
	TimeoutSeconds int32
}

// HookKind says when a hook runs.
type HookKind string

// Kinds of hooks.
const (
	HookPreDeploy  HookKind = "pre-deploy"
	HookPostDeploy HookKind = "post-deploy"
)

// Hook returns the workload's hook of a kind, nil when it has none.
func (w Workload) Hook(kind HookKind) *Hook {
	h := w.Container.Hooks
	switch {
	case h == nil:
		return nil
	case kind == HookPreDeploy:
		return h.PreDeploy
	default:
		return h.PostDeploy
	}
}

// HookKinds returns the kinds of hooks that the workload has, in the order they
// run.
func (w Workload) HookKinds() []HookKind {
	var kinds []HookKind
	for _, kind := range []HookKind{HookPreDeploy, HookPostDeploy} {
		if w.Hook(kind) != nil {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func normalizeHooks(h *Hooks) *Hooks {
	if h == nil || h.PreDeploy == nil && h.PostDeploy == nil {
		return nil
	}
	return &Hooks{PreDeploy: normalizeHook(h.PreDeploy), PostDeploy: normalizeHook(h.PostDeploy)}
}

func normalizeHook(h *Hook) *Hook {
	if h == nil {
		return nil
	}
	filled := *h
	if filled.TimeoutSeconds == 0 {
		filled.TimeoutSeconds = DefaultHookTimeoutSeconds
	}
	return &filled
}

func hooks(c check, h *Hooks) {
	if h == nil {
		return
	}
	hook(c.at("preDeploy"), h.PreDeploy)
	hook(c.at("postDeploy"), h.PostDeploy)
}

func hook(c check, h *Hook) {
	if h == nil {
		return
	}
	c.at("command").that(len(h.Command)+len(h.Args) > 0, nil, "is missing: a hook has a command, or args for the image's entrypoint")
	keys(c.at("command"), h.Command)
	keys(c.at("args"), h.Args)
	c.at("timeoutSeconds").that(h.TimeoutSeconds >= 0 && h.TimeoutSeconds <= MaxHookTimeoutSeconds, h.TimeoutSeconds,
		"must be 1 to %d, or 0 for %d", MaxHookTimeoutSeconds, DefaultHookTimeoutSeconds)
}
