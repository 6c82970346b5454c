package deployment

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzBoundText(f *testing.F) {
	f.Add("plain", uint16(10))
	f.Add("ä\x00\xff€", uint16(4))
	f.Add(strings.Repeat("€", 100), uint16(50))
	f.Fuzz(func(t *testing.T, text string, bytes uint16) {
		limit := int(bytes)
		got := boundText(text, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Errorf("boundText(%q, %d) = %q", text, limit, got)
		}
		if utf8.ValidString(text) && len(text) <= limit && !strings.ContainsRune(text, 0) && got != text {
			t.Errorf("boundText(%q, %d) = %q: there was nothing to change", text, limit, got)
		}
	})
}
