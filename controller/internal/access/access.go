// Package access remembers for moments who presents a token and what they are
// in a team, so that not every request has to ask the database. It forgets
// everything when anything changes that could make it wrong.
package access

import (
	"crypto/sha256"
	"sync"
	"time"

	"fairlead.dev/controller/internal/actor"
)

const (
	// lifetime is how long something is remembered at most: how late a
	// revocation on another controller counts when the notice of it is lost.
	lifetime = 5 * time.Second
	// most bounds how many are remembered; each takes some hundreds of bytes.
	most = 10_000
)

// Entry is who presents a token.
type Entry struct {
	Actor actor.Actor
	// Team is what was asked for and what the actor is in it; the zero Team
	// for what is outside of teams.
	Team actor.Team
}

// key tells entries apart. Tokens themselves are not kept.
type key struct {
	token [sha256.Size]byte
	slug  string
}

type remembered struct {
	Entry
	until time.Time
}

// Cache remembers entries. It is safe for concurrent use.
type Cache struct {
	now func() time.Time

	mu         sync.RWMutex
	generation uint64
	entries    map[key]remembered
}

// New returns a cache that remembers nothing yet.
func New(now func() time.Time) *Cache {
	return &Cache{now: now, entries: map[key]remembered{}}
}

// Find returns what is remembered of a token and a team's slug, "" for none.
// When nothing is, the generation is for Keep.
func (c *Cache) Find(token, slug string) (e Entry, generation uint64, ok bool) {
	k := key{sha256.Sum256([]byte(token)), slug}
	now := c.now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, ok := c.entries[k]
	return found.Entry, c.generation, ok && now.Before(found.until)
}

// Keep remembers an entry that was read after Find, unless something changed
// since.
func (c *Cache) Keep(generation uint64, token, slug string, e Entry) {
	until := c.now().Add(lifetime)
	if end := e.Actor.TokenExpiresAt; !end.IsZero() && end.Before(until) {
		until = end
	}
	k := key{sha256.Sum256([]byte(token)), slug}
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return
	}
	if len(c.entries) >= most {
		clear(c.entries)
	}
	c.entries[k] = remembered{Entry: e, until: until}
}

// Forget forgets everything, also what is being read now.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	clear(c.entries)
}
