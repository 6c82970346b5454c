// Package root is about replacing the private root that agents and controller
// trust each other by, without a day on which everything must change at once:
// the next root is made known to agents while the current one still signs; it
// signs once they trust it; the old one is given up once nobody needs it.
package root

import (
	"context"
	"time"
)

// State is what a root is for.
type State string

// States of a root. Every root that is there is trusted by agents that were
// told of it, and certificates it signed are accepted.
const (
	// Next: agents are told to trust it; it signs nothing yet.
	Next State = "next"
	// Current: what is signed is signed by it.
	Current State = "current"
	// Old: shown to agents that trust no newer one.
	Old State = "old"
)

// Root is a private root certificate.
type Root struct {
	// SHA256 of the certificate, in hex.
	SHA256 string
	State  State
	// Since is when it came into its state; zero for a first root.
	Since    time.Time
	NotAfter time.Time
}

// Ring holds the roots and their keys.
type Ring interface {
	// List returns the roots, oldest first.
	List() []Root
	// Prepare makes the next root; Conflict when there is one.
	Prepare() (Root, error)
	// Promote makes the next root current and the current one old;
	// Precondition when there is no next one.
	Promote() (Root, error)
	// Retire gives a root up; Precondition for the current one.
	Retire(sha256 string) error
}

// Doubter is an agent that does not trust a root, or did not say that it does.
type Doubter struct {
	Team string
	Node string
	// SeenAt is when it was connected last.
	SeenAt time.Time
	// Silent is set for an agent that never said what it trusts: its build is
	// too old to be told of another root.
	Silent bool
}

// Count says how many agents there are and how many of them trust a root.
type Count struct {
	Agents  int
	Trusted int
}

// Store knows what agents said they trust. Only agents that are not revoked
// and that were ever connected count.
type Store interface {
	CountTrust(ctx context.Context, sha256 string, seenSince time.Time) (Count, error)
	// ListDoubters returns agents that were seen since the time and do not
	// trust the root, those seen last first, limit of them at most.
	ListDoubters(ctx context.Context, sha256 string, seenSince time.Time, limit int) ([]Doubter, error)
}
