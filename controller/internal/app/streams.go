package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/replica"
	"fairlead.dev/shared/logging"
)

// self is this process among the controllers on one database.
type self struct {
	// ID is made anew with each start.
	ID      uuid.UUID
	Name    string
	Address string
}

func newSelf(c config.Config) self {
	return self{ID: uuid.New(), Name: c.ReplicaName, Address: c.ReplicaAddr}
}

// streams are the parts behind logs that are followed and terminals.
type streams struct {
	broker  *bulk.Broker
	service *bulk.Service
	peers   *replica.Client
}

func newStreams(me self, db *postgres.DB, k *keys.Keys, auditLog *audit.Log, log *slog.Logger) streams {
	limits := bulk.DefaultLimits()
	var s streams
	s.broker = bulk.NewBroker(bulk.Config{
		Limits: limits, Replica: me.ID.String(), Now: now,
		Misused: func(ctx context.Context, m bulk.Misuse) {
			log.Warn("an agent came with the id of a stream that it was not asked for", "agent", m.AgentID, "foreign", m.Foreign)
			if err := s.service.NoteMisuse(ctx, m); err != nil {
				log.Error("could not note an agent's misuse", logging.KeyError, err)
			}
		},
	})
	s.peers = replica.NewClient(replica.ClientConfig{
		Roots: k.Roots.Accepted, Patience: limits.Patience, Now: now,
		Sign: func(notBefore, notAfter time.Time) (*tls.Certificate, error) {
			return k.Roots.Replica(me.ID.String(), notBefore, notAfter)
		},
	})
	s.service = bulk.NewService(bulk.ServiceConfig{
		Store: db, Broker: s.broker, Peers: s.peers, Audit: auditLog, Limits: limits, Now: now,
	})
	return s
}
