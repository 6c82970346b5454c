package postgres

import (
	"context"
	"slices"
	"time"

	"fairlead.dev/shared/apperr"
)

// UseKeys notes which keys of a kind the database is used with, by their
// fingerprints, from now on. It fails with Conflict, and notes nothing, when
// it was used with others and none of these.
func (db *DB) UseKeys(ctx context.Context, kind string, fingerprints []string, at time.Time) error {
	return db.InTx(ctx, func(ctx context.Context) error {
		// Controllers that start at the same moment agree on one set.
		if err := db.in(ctx).Exec("lock table installation_keys in exclusive mode").Error; err != nil {
			return mapError(err, "look which keys the database is used with")
		}
		var known []string
		err := db.in(ctx).Raw("select fingerprint from installation_keys where kind = ? order by first_used, fingerprint", kind).Scan(&known).Error
		if err != nil {
			return mapError(err, "look which keys the database is used with")
		}
		if len(known) > 0 && !slices.ContainsFunc(fingerprints, func(f string) bool { return slices.Contains(known, f) }) {
			return apperr.New(apperr.Conflict, "the database was used with another %s key", kind).WithField(kind, known[0])
		}
		err = db.in(ctx).Exec("delete from installation_keys where kind = ? and fingerprint not in ?", kind, fingerprints).Error
		if err != nil {
			return mapError(err, "note which keys the database is used with")
		}
		for _, f := range fingerprints {
			err := db.in(ctx).Exec(`insert into installation_keys (kind, fingerprint, first_used) values (?, ?, ?) on conflict do nothing`, kind, f, at).Error
			if err != nil {
				return mapError(err, "note which keys the database is used with")
			}
		}
		return nil
	})
}
