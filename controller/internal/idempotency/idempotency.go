// Package idempotency lets a request that is sent again with the same key take
// no effect again: it answers what the first one answered.
//
// A key is claimed before the request is carried out. The claim travels in the
// context, and the store marks it in the very transaction that has the effect:
// a claim that was lost meanwhile undoes the effect, and a controller that dies
// leaves either neither or both behind.
package idempotency

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const (
	// Lifetime is how long a key is remembered.
	Lifetime = 24 * time.Hour
	// Lease is how long a request may take until it has its effect; then the
	// key can be used again, since whoever had it must have died.
	Lease = 30 * time.Second
	// MaxKeys is how many keys of one caller are remembered.
	MaxKeys = 1000
	// MaxKeyLength is that of a key, in characters.
	MaxKeyLength = 255
	// MaxAnswerBytes is what a body may have to be kept.
	MaxAnswerBytes = 1 << 20
)

// Field is what errors call the key.
const Field = "Idempotency-Key"

// Reasons of the Conflict errors of Begin, for programs.
const (
	// ReasonInUse: the first request with the key is under way.
	ReasonInUse = "idempotencyKeyInUse"
	// ReasonReused: the key was sent with another request.
	ReasonReused = "idempotencyKeyReused"
)

// Claim is the right to carry out the request of a key.
type Claim struct {
	ID uuid.UUID
	// Caller is who sent it, and KeyHash the SHA-256 of the key.
	Caller  string
	KeyHash []byte
}

// Answer is what a request was answered.
type Answer struct {
	Status  int
	Headers map[string][]string
	Body    []byte
}

// Record is what is stored of a key. Fingerprint and Body are sealed.
type Record struct {
	Claim
	Fingerprint []byte
	// CarriedOut: the request has had its effect.
	CarriedOut bool
	LeaseUntil time.Time
	ExpiresAt  time.Time
	// Status is 0 until there is an answer.
	Status  int
	Headers map[string][]string
	Body    []byte
}

// Store keeps keys.
type Store interface {
	// ClaimKey adds the record, also in place of one that has expired or whose
	// lease is over without any effect, and reports true; or it returns the one
	// there is. TooMany when the caller has max keys already.
	ClaimKey(ctx context.Context, r Record, now time.Time, maxKeys int) (Record, bool, error)
	// FinishKey adds the answer (Status, Headers, Body) to a claim's record; a
	// claim that was lost is left alone.
	FinishKey(ctx context.Context, r Record) error
	// ReleaseKey forgets a claim whose request had no effect, and reports
	// whether that was so.
	ReleaseKey(ctx context.Context, claimID uuid.UUID) (bool, error)
}

// Sealer encrypts what is stored; the purpose binds it to its place.
type Sealer interface {
	Seal(purpose, text string) []byte
	Open(purpose string, sealed []byte) (string, error)
}

type claimKey struct{}

// With returns a context that carries the claim; the store marks it in every
// transaction it completes with that context.
func With(ctx context.Context, c Claim) context.Context {
	return context.WithValue(ctx, claimKey{}, c)
}

// From returns the claim that the context carries.
func From(ctx context.Context) (Claim, bool) {
	c, ok := ctx.Value(claimKey{}).(Claim)
	return c, ok
}
