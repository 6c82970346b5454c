package agentrt

import (
	"context"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/workload"
)

// guard has the driver tell of what others change, where it can, until ctx ends.
func (a *Agent) guard(ctx context.Context, tell func(prefix string, e workload.Event)) error {
	warden, ok := a.config.Driver.(workload.Warden)
	for ok && ctx.Err() == nil {
		if err := warden.Guard(ctx, tell); ctx.Err() == nil {
			a.config.Log.Warn("changes by others are not noticed for a moment", logging.KeyError, err)
			backoff.Sleep(ctx, observeRetry)
		}
	}
	<-ctx.Done()
	return nil
}
