package app

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/replica"
	"fairlead.dev/shared/apperr"
)

// newRelay is what the other replicas may ask this one for.
func newRelay(a *App, s *services) *replica.Server {
	return replica.NewServer(replica.ServerConfig{
		Broker: s.streams.broker, Log: a.log,
		Ping: func(context.Context, uuid.UUID, int64) (bool, string, error) {
			return false, "", apperr.New(apperr.Unsupported, "this controller does not ping")
		},
		Health: func() replica.Health { return replica.Health{} },
	})
}
