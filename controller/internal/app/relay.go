package app

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/replica"
)

// newRelay is what the other replicas may ask this one for.
func newRelay(a *App, s *services) *replica.Server {
	return replica.NewServer(replica.ServerConfig{
		Broker: s.streams.broker, Log: a.log,
		Ping: func(ctx context.Context, agentID uuid.UUID, epoch int64) (bool, string, error) {
			if !s.dispatcher.IsMine(agentID, epoch) {
				return false, "", replica.NotHere()
			}
			return s.dispatcher.Ping(ctx, agentID, epoch), "", nil
		},
		Health: func() replica.Health {
			return replica.Health{Database: a.vigil.Present() == nil, Accepting: a.accepts() == nil}
		},
	})
}
