package postgres

import "database/sql"

// What the tests, which need pgtest and so cannot be inside, reach in for.
var (
	MapError = mapError
	Violates = violates
	In       = (*DB).in
	Read     = (*DB).read
)

// Scanner is what Read hands out.
type Scanner = scanner

// Pool returns the connections of the API.
func Pool(db *DB) *sql.DB { return db.pool }
