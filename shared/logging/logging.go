// Package logging sets up structured logs and names the attribute keys that
// every part uses, so that one search finds all lines about one thing.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Attribute keys.
const (
	KeyComponent  = "component"
	KeyRequest    = "request_id"
	KeyTeam       = "team"
	KeyUser       = "user"
	KeyNode       = "node"
	KeySession    = "session"
	KeyEpoch      = "epoch"
	KeyDeployment = "deployment"
	KeyRelease    = "release"
	KeyGeneration = "generation"
	KeyWorkload   = "workload"
	KeyContainer  = "container"
	KeyCommand    = "command"
	KeyError      = "error"
)

// New returns a logger that writes to w. Format is "json" or "text"; level is
// "debug", "info", "warn" or "error".
func New(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch strings.ToLower(format) {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	default:
		return nil, fmt.Errorf("log format %q: want json or text", format)
	}
}

// Secret is a string that logs, JSON and %v show as "***". Reveal returns it.
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string { return "***" }

// GoString hides the text from %#v.
func (s Secret) GoString() string { return "***" }

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText hides the text from JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }
