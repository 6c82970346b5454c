package apperr_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/shared/apperr"
)

func TestKindSurvivesWrapping(t *testing.T) {
	cause := errors.New("connection refused")
	for _, kind := range apperr.Kinds() {
		err := fmt.Errorf("list nodes: %w", apperr.Wrap(kind, cause, "reach the database"))
		if got := apperr.KindOf(err); got != kind {
			t.Errorf("KindOf = %v, want %v", got, kind)
		}
		if !errors.Is(err, cause) {
			t.Errorf("%v: the cause is lost", kind)
		}
		if strings.HasPrefix(kind.String(), "kind(") {
			t.Errorf("kind %d has no name", int(kind))
		}
	}
}

func TestPlainErrorIsInternal(t *testing.T) {
	if got := apperr.KindOf(errors.New("boom")); got != apperr.Internal {
		t.Errorf("KindOf = %v, want internal", got)
	}
	if apperr.Is(nil, apperr.Internal) {
		t.Error("nil carries a kind")
	}
}

func TestErrorNamesTheField(t *testing.T) {
	err := apperr.InvalidField("prefix", "Bad Prefix", "must be a DNS label")
	if got, want := err.Error(), "prefix: must be a DNS label"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if other := err.WithField("name", 1); err.Field != "prefix" || other.Field != "name" {
		t.Error("WithField changed the original or not the copy")
	}
}
