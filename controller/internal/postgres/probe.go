package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Probe asks the database whether it is there, over a connection of its own:
// a busy pool is not a database that is away.
type Probe struct {
	config *pgx.ConnConfig

	mu   sync.Mutex
	conn *pgx.Conn
}

// NewProbe returns a probe of the database; Close ends its connection.
func (db *DB) NewProbe() *Probe { return &Probe{config: db.conn.Copy()} }

// Ask returns nil when the database answers before ctx ends.
func (p *Probe) Ask(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.conn == nil {
		if p.conn, err = pgx.ConnectConfig(ctx, p.config); err != nil {
			p.conn = nil
			return mapError(err, "connect to the database")
		}
	}
	if _, err = p.conn.Exec(ctx, "select 1"); err != nil {
		_ = p.conn.Close(ctx) // it may be dead
		p.conn = nil
		return mapError(err, "ask the database for an answer")
	}
	return nil
}

// Close ends the probe's connection.
func (p *Probe) Close(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	err := p.conn.Close(ctx)
	p.conn = nil
	return err
}
