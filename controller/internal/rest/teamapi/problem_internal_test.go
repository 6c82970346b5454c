package teamapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"fairlead.dev/shared/apperr"
)

func TestEveryKindHasItsStatus(t *testing.T) {
	seen := map[int]apperr.Kind{}
	for _, kind := range apperr.Kinds() {
		status := statusOf(kind)
		if (status == http.StatusInternalServerError) != (kind == apperr.Internal) {
			t.Errorf("%v answers %d", kind, status)
		}
		if other, taken := seen[status]; taken {
			t.Errorf("%v and %v both answer %d", kind, other, status)
		}
		seen[status] = kind
	}
}

func TestOurOwnFaultsAreLoggedAndNotShown(t *testing.T) {
	var log strings.Builder
	p := problemOf(slog.New(slog.NewTextHandler(&log, nil)), fmt.Errorf("read nodes: %w", errors.New("relation is on fire")))
	if p.Status != http.StatusInternalServerError || strings.Contains(p.Message, "fire") {
		t.Errorf("answered %+v", p)
	}
	if n := strings.Count(log.String(), "relation is on fire"); n != 1 {
		t.Errorf("logged %d times: %s", n, log.String())
	}
}

func TestWhoHangsUpIsNoFault(t *testing.T) {
	var log strings.Builder
	p := problemOf(slog.New(slog.NewTextHandler(&log, nil)), fmt.Errorf("read nodes: %w", context.Canceled))
	if p.Status == http.StatusInternalServerError || log.Len() > 0 {
		t.Errorf("answered %d, logged %q", p.Status, log.String())
	}
}

func TestProblemNamesEveryFieldAtFault(t *testing.T) {
	err := apperr.InvalidField("ports[0].internal", 0, "must be 1 to 65535")
	err.Err = errors.Join(apperr.InvalidField("volumes[0].path", "x", "must be absolute"))
	p := problemOf(slog.New(slog.DiscardHandler), fmt.Errorf("start: %w", err))
	if p.Property != "ports[0].internal" || p.Value != 0 || len(p.Errors) != 2 || p.Errors[1].Property != "volumes[0].path" {
		t.Errorf("got %+v", p)
	}
}

func TestBodiesThatDoNotFitNeverEchoSecrets(t *testing.T) {
	cases := map[string]struct {
		detail   huma.ErrorDetail
		property string
		value    any
	}{
		"a field":        {huma.ErrorDetail{Location: "body.name", Message: "too long", Value: "x"}, "name", "x"},
		"missing":        {huma.ErrorDetail{Location: "body.details", Message: "expected required property url to be present", Value: map[string]any{"user": "u"}}, "details.url", nil},
		"missing at top": {huma.ErrorDetail{Location: "body", Message: "expected required property name to be present"}, "name", nil},
		"a whole body":   {huma.ErrorDetail{Location: "body", Message: "unexpected", Value: `{"password":"x"}`}, "", nil},
		"a password":     {huma.ErrorDetail{Location: "body.password", Message: "expected string", Value: 12345}, "password", nil},
		"a nested token": {huma.ErrorDetail{Location: "body.details.token", Message: "expected string", Value: 12345}, "details.token", nil},
		"a long value":   {huma.ErrorDetail{Location: "body.name", Message: "too long", Value: strings.Repeat("x", 1000)}, "name", nil},
		"a query member": {huma.ErrorDetail{Location: "query.take", Message: "too big", Value: 5000}, "take", 5000},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, ok := humaProblem(http.StatusUnprocessableEntity, "validation failed", &c.detail).(*Problem)
			if !ok || p.Status != http.StatusBadRequest {
				t.Fatalf("got %+v", p)
			}
			if p.Property != c.property || p.Value != c.value {
				t.Errorf("property %q value %v, want %q %v", p.Property, p.Value, c.property, c.value)
			}
		})
	}
}
