// Package migrations holds the schema of the controller's database as plain
// SQL, embedded, and applies it.
//
// A file is NNNNN_what.sql with a "-- +goose Up" and a "-- +goose Down" part.
// A released file never changes; the schema moves by expanding first and
// contracting a release later, so that two neighbouring releases can share a
// database while one replaces the other.
package migrations

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// FS holds the migration files, at its root.
//
//go:embed [0-9]*.sql
var FS embed.FS

// Hash names the set of migrations in this binary: 32 hexadecimal digits over
// the names and the contents of all files. It changes whenever any does.
func Hash() (string, error) {
	entries, err := FS.ReadDir(".") // sorted by name
	if err != nil {
		return "", fmt.Errorf("list migrations: %w", err)
	}
	sum := sha256.New()
	for _, entry := range entries {
		content, err := fs.ReadFile(FS, entry.Name())
		if err != nil {
			return "", fmt.Errorf("read migration: %w", err)
		}
		// Lengths make the parts unambiguous.
		fmt.Fprintf(sum, "%d %s %d ", len(entry.Name()), entry.Name(), len(content))
		sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}
