package naming_test

import (
	"errors"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

func TestCheck(t *testing.T) {
	for written, want := range map[string]string{
		" Shop ": "Shop", "a b": "a b", "Läden": "Läden", strings.Repeat("é", 70): strings.Repeat("é", 70),
	} {
		if got, err := naming.Check(written, 3); err != nil || got != want {
			t.Errorf("Check(%q) = %q, %v; want %q", written, got, err, want)
		}
	}
	for _, written := range []string{"", "  ", "ab", " ab ", strings.Repeat("é", 71), "a\x00b", "a\nb", "a\x7fb", "a\u0085b"} {
		_, err := naming.Check(written, 3)
		var e *apperr.Error
		if !errors.As(err, &e) || e.Kind != apperr.Invalid || e.Field != "name" {
			t.Errorf("Check(%q) = %v, want an Invalid error on name", written, err)
		}
	}
}
