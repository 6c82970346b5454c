// Package naming has the rule for names that people give to things.
package naming

import (
	"strings"
	"unicode"

	"fairlead.dev/shared/apperr"
)

// MaxLength bounds every name, in characters.
const MaxLength = 70

// Check returns a name without the space around it. Errors: Invalid on the
// field name, for one of less than least or more than MaxLength characters, or
// with control characters in it.
func Check(name string, least int) (string, error) {
	name = strings.TrimSpace(name)
	if n := len([]rune(name)); n < least || n > MaxLength || !Plain(name) {
		return "", apperr.InvalidField("name", name, "must be %d to %d characters, none of them control characters", least, MaxLength)
	}
	return name, nil
}

// Plain reports whether a text is without control characters, which in a log
// or a message would be more than text.
func Plain(text string) bool { return !strings.ContainsFunc(text, unicode.IsControl) }
