// Package program is what the agents' programs have in common: their exit codes,
// and the commands that only the engine behind them tells apart.
package program

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/logging"
)

// Exit codes. A revoked agent ends with OK: there is nothing to repair and
// nothing to start again. One whose node was deleted ends with NotEnrolled, after
// which no service manager starts it again.
const (
	OK          = 0
	Failed      = 1
	Usage       = 2
	NotEnrolled = 3
)

// Program is an agent's program. What it does returns an exit code; what went
// wrong has been said on Stderr.
type Program struct {
	Name           string
	Stdout, Stderr io.Writer
}

// Serve runs the agent and logs how it ended.
func (p Program) Serve(logFormat, logLevel string, run func(*slog.Logger) error) int {
	log, err := logging.New(p.Stderr, logFormat, logLevel)
	if err != nil {
		p.complain("%v", err)
		return Usage
	}
	err = run(log)
	var notEnrolled *agentrt.EnrolmentError
	switch {
	case err == nil:
		log.Info("stopped")
		return OK
	case errors.Is(err, agentrt.ErrRevoked):
		log.Error("stopped for good", logging.KeyError, err)
		return OK
	case errors.Is(err, agentrt.ErrDeleted):
		log.Error("stopped for good", logging.KeyError, err)
		return NotEnrolled
	case errors.As(err, &notEnrolled):
		log.Error("not enrolled", logging.KeyError, err)
		return NotEnrolled
	default:
		log.Error("failed", logging.KeyError, err)
		return Failed
	}
}

// Healthcheck tells whether the agent of a state folder is connected. It asks
// the folder, which needs neither a port nor a shell.
func (p Program) Healthcheck(stateDir string) int {
	until, err := agentrt.HealthyUntil(stateDir)
	switch {
	case err != nil:
		p.complain("%v", err)
		return Failed
	case until.Before(time.Now()):
		p.complain("not connected")
		return Failed
	default:
		_, _ = fmt.Fprintln(p.Stdout, "connected") // the exit code says it too
		return OK
	}
}

// Doctor has what is good and what is not printed; it fails when anything is
// not.
func (p Program) Doctor(diagnose func(w io.Writer) (healthy bool, err error)) int {
	healthy, err := diagnose(p.Stdout)
	if err != nil {
		p.complain("%v", err)
		return Failed
	}
	if !healthy {
		return Failed
	}
	return OK
}

// complain says what went wrong; the exit code does where nobody can hear it.
func (p Program) complain(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Stderr, p.Name+": "+format+"\n", args...)
}
