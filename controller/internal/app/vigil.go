package app

import (
	"context"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/replica"
)

// newVigil watches over the connection to PostgreSQL.
func newVigil(a *App, s *services, me self) (*replica.Vigil, *postgres.Probe) {
	probe := s.db.NewProbe()
	return replica.NewVigil(replica.VigilConfig{
		Ask: probe.Ask,
		List: func(ctx context.Context) ([]replica.Peer, error) {
			rows, err := s.db.ListNeighbours(ctx, me.ID)
			peers := make([]replica.Peer, len(rows))
			for i, r := range rows {
				peers[i] = replica.Peer{ID: r.ID.String(), Name: r.Name, Address: r.Address}
			}
			return peers, err
		},
		Health:   s.streams.peers.Health,
		Sessions: func() int { return a.agents.Open() },
		Shed:     func(n int) { a.agents.Shed(n) },
		Log:      a.log,
	}), probe
}

// accepts returns why this controller takes no sessions, or nil.
func (a *App) accepts() error {
	if a.draining.Load() {
		return errDraining
	}
	return a.vigil.Present()
}

// schemaReady is the check of the schema; a database that is away is the
// vigil's to tell, and soon.
func (a *App) schemaReady(ctx context.Context) error {
	if err := a.vigil.Present(); err != nil {
		return err
	}
	return a.database.ready(ctx)
}
