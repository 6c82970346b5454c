package bulk

import (
	"strings"

	"fairlead.dev/shared/apperr"
)

// Bounds of what may be asked for.
const (
	MaxTail         = 10_000
	MaxArguments    = 128
	maxCommandBytes = 32 << 10
	maxVariables    = 64
	maxTerminal     = 4096
)

func (r Request) check() error {
	if r.Logs != nil {
		if r.Logs.Tail < 0 || r.Logs.Tail > MaxTail {
			return apperr.InvalidField("take", r.Logs.Tail, "must be 0 to %d", MaxTail)
		}
		return nil
	}
	e := r.Exec
	if len(e.Command) == 0 || e.Command[0] == "" || len(e.Command) > MaxArguments {
		return apperr.InvalidField("command", nil, "must be a program and at most %d arguments", MaxArguments-1)
	}
	size := 0
	for _, argument := range e.Command {
		size += len(argument)
		if strings.ContainsRune(argument, 0) {
			return apperr.InvalidField("command", nil, "must not contain a zero byte")
		}
	}
	if len(e.Environment) > maxVariables {
		return apperr.InvalidField("env", len(e.Environment), "at most %d variables", maxVariables)
	}
	for name, value := range e.Environment {
		size += len(name) + len(value)
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return apperr.InvalidField("env", nil, "must be NAME=value, without zero bytes")
		}
	}
	if size > maxCommandBytes {
		return apperr.InvalidField("command", nil, "with its environment it has %d bytes, at most %d are allowed", size, maxCommandBytes)
	}
	return e.Size.Check()
}

// Check returns an Invalid error for a terminal of a size that none has.
func (s Size) Check() error {
	if s.Columns > maxTerminal || s.Rows > maxTerminal {
		return apperr.InvalidField("size", nil, "a terminal has at most %d columns and rows", maxTerminal)
	}
	return nil
}
