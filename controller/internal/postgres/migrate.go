package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/stdlib"

	"fairlead.dev/migrations"
)

// Migrate brings the schema to what this binary expects; see migrations.Up. It
// uses connections of its own, because a migration may take longer than any
// other statement is allowed to.
func (db *DB) Migrate(ctx context.Context) error {
	pool := stdlib.OpenDB(*db.conn)
	return errors.Join(
		mapError(migrations.Up(ctx, pool), "migrate the database"),
		pool.Close(),
	)
}

// Schema says where the database stands beside this binary's migrations.
func (db *DB) Schema(ctx context.Context) (migrations.Schema, error) {
	schema, err := migrations.Version(ctx, db.pool)
	return schema, mapError(err, "read the schema's version")
}
