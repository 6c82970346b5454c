package postgres

// What the tests, which need pgtest and so cannot be inside, reach in for.
var (
	MapError = mapError
	Violates = violates
	In       = (*DB).in
)
