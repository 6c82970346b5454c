package command

import (
	"context"

	"github.com/google/uuid"
)

// UpdateAgent replaces the node's agent by another build.
const UpdateAgent Operation = "update"

// Update is the order to replace an agent: see package update.
type Update struct {
	Version string
	// Digest is the build's, "sha256:" and hex; Size is in bytes.
	Digest string
	Size   int64
	Path   string
	// Signature is the release key's over the build's statement.
	Signature []byte
	// Downgrade: an older version is meant.
	Downgrade bool
	// Keys are the release keys, oldest first.
	Keys []ReleaseKey
}

// ReleaseKey is a release key, and the signature of the one before it.
type ReleaseKey struct{ Public, Signature []byte }

// Expect prepares to wait for the result of a command that is about to be
// asked for; stop must be called. Wait fails with the command's own error, and
// with Unavailable when no result came in time.
func (s *Service) Expect(id uuid.UUID) (wait func(ctx context.Context) (Result, error), stop func()) {
	hints, stop := s.Waiter.Wait(id)
	return func(ctx context.Context) (Result, error) { return s.await(ctx, Command{ID: id}, hints) }, stop
}
