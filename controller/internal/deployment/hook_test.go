package deployment_test

import (
	"testing"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// An agent that runs no hooks would leave them out and not say so.
func TestHooksGoToAgentsThatRunThem(t *testing.T) {
	w := newWorld(t)
	w.sealingKey() // there is an agent
	migrate := &spec.Hooks{PreDeploy: &spec.Hook{Command: []spec.Key{{Key: "/migrate"}}}}
	d, _ := w.shop(spec.Container{Hooks: migrate})
	_, err := w.Start(w.ctx, d.ID, nil)
	wantError(t, err, apperr.Unsupported, "hooks")
	_, err = w.MakePlan(w.ctx, d.ID, nil, nil) // which would not show them
	wantError(t, err, apperr.Unsupported, "hooks")
	w.exec("update agents set capabilities = 'delta hooks' where node_id = $1", w.node)
	w.start(d)
	if h := w.assignment("shop").Deployment.Workloads[0].Container.Hooks; h == nil || h.PreDeploy.TimeoutSeconds != spec.DefaultHookTimeoutSeconds {
		t.Errorf("the node is told of the hooks %+v", h)
	}
	w.succeed(d, digest("a"))
	w.exec("update agents set capabilities = 'delta' where node_id = $1", w.node)
	_, err = w.Rollback(w.ctx, d.ID, 1, false) // content that was rendered before
	wantError(t, err, apperr.Unsupported, "hooks")
}
