package revision_test

import (
	"testing"
	"time"

	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

func TestARevisionIsChangedByWhoExpectsItOrNothing(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	this, other := revision.Of(at), revision.Of(at.Add(time.Microsecond))
	if err := revision.Check(t.Context(), at); err != nil {
		t.Errorf("expecting nothing: %v", err)
	}
	for name, test := range map[string]struct {
		expected []string
		ok       bool
	}{
		"this one": {[]string{this}, true}, "one of two": {[]string{other, this}, true},
		"another": {[]string{other}, false}, "none": {[]string{}, false},
	} {
		err := revision.Check(revision.Expect(t.Context(), test.expected), at)
		if (err == nil) != test.ok || err != nil && !apperr.Is(err, apperr.Precondition) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRevisionsNeverComeBack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, now := range map[string]time.Time{"later": at.Add(time.Second), "the same": at, "put back": at.Add(-time.Hour)} {
		if next := revision.Next(at, now); !next.After(at) || revision.Of(next) == revision.Of(at) {
			t.Errorf("clock %s: %s after %s", name, next, at)
		}
	}
}
