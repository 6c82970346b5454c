// Package revision keeps two people who change the same thing from undoing
// each other's work unseen: a caller says which revision it has read, and a
// change of any other is refused.
package revision

import (
	"context"
	"slices"
	"strconv"
	"time"

	"fairlead.dev/shared/apperr"
)

// Field is what errors name as the field at fault.
const Field = "If-Match"

// ReasonChanged is the word for programs in errors about another revision.
const ReasonChanged = "changed"

// Of names the revision of something that was changed last at a time. Whoever
// changes it takes its next time from Next.
func Of(changed time.Time) string { return strconv.FormatInt(changed.UnixMicro(), 36) }

// Next returns the time of a change that happens now to something that was
// changed last at a time: a later one, also where the clock was put back or
// that of another controller is ahead. Times have microseconds.
func Next(changed, now time.Time) time.Time {
	if now.After(changed) {
		return now
	}
	return changed.Add(time.Microsecond)
}

type expectedKey struct{}

// Expect returns a context in which only something of one of these revisions
// may be changed.
func Expect(ctx context.Context, revisions []string) context.Context {
	return context.WithValue(ctx, expectedKey{}, revisions)
}

// Check returns a Precondition error when the caller expects another revision
// than that of something changed last at a time. It is called inside the
// transaction of the change, with the row locked.
func Check(ctx context.Context, changed time.Time) error {
	expected, expects := ctx.Value(expectedKey{}).([]string)
	if !expects || slices.Contains(expected, Of(changed)) {
		return nil
	}
	return apperr.New(apperr.Precondition,
		"it is not what you have read any more, so nothing was changed: read it again, and send the change anew if it still makes sense").
		WithField(Field, nil).WithReason(ReasonChanged)
}
