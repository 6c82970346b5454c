// Package page says which part of a list a caller wants. Like a transaction it
// travels in the context, from the edge that was asked to the one query that
// lists; what lists for its own use has none and gets everything.
package page

import "context"

// Max bounds the entries of one answer.
const Max = 1000

// Counted is how far behind a page of a log entries are counted: a total is
// exact as long as there are no more behind the page, and else says how many
// there are at least. Counting a million would cost more than reading a page.
const Counted = 10_000

// Page is a part of a list.
type Page struct {
	// Skip is how many entries are passed over, Take how many there are at
	// most.
	Skip, Take int
}

type pageKey struct{}

// With returns a context in which lists are read in part.
func With(ctx context.Context, p Page) context.Context { return context.WithValue(ctx, pageKey{}, p) }

// From returns the part that is wanted; ok is false for all.
func From(ctx context.Context) (p Page, ok bool) {
	p, ok = ctx.Value(pageKey{}).(Page)
	return p, ok
}

// Cut returns the part that is wanted of a list that is in memory.
func Cut[T any](ctx context.Context, list []T) []T {
	p, ok := From(ctx)
	if !ok {
		return list
	}
	from := min(p.Skip, len(list))
	return list[from : from+min(p.Take, len(list)-from)]
}
