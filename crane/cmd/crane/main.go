// Command crane is the agent for Kubernetes: it runs in a cluster, dials the
// controller, and makes the cluster run what the controller says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/crane/internal/app"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/logging"
)

// Exit codes. A revoked agent ends with exitOK: there is nothing to repair and
// nothing to start again.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotEnrolled = 3
)

const usage = `crane is Fairlead's agent for Kubernetes.

usage: crane [command] [flags]

commands:
  run          serve this cluster (when no command is given)
  healthcheck  end with 0 when the agent that runs here is connected
  doctor       find out what keeps this cluster from its controller
  version      print the version

crane run --help lists the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, buildinfo.Line("crane"))
		return exitOK
	case "help":
		fmt.Fprint(stdout, usage)
		return exitOK
	case "run", "healthcheck", "doctor":
	default:
		fmt.Fprintf(stderr, "crane: unknown command %q\n\n%s", command, usage)
		return exitUsage
	}
	s, err := parse(command, args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return exitUsage
	}
	if command == "healthcheck" {
		return healthcheck(s.app.StateDir, stdout, stderr)
	}
	if command == "doctor" {
		return diagnose(ctx, s, stdout, stderr)
	}
	return serve(ctx, s, stderr)
}

// diagnose prints what is good and what is not; it fails when anything is not.
func diagnose(ctx context.Context, s settings, stdout, stderr io.Writer) int {
	healthy, err := app.Diagnose(ctx, s.app, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "crane: %v\n", err)
		return exitFailed
	}
	if !healthy {
		return exitFailed
	}
	return exitOK
}

// serve runs the agent and logs how it ended.
func serve(ctx context.Context, s settings, stderr io.Writer) int {
	log, err := logging.New(stderr, s.logFormat, s.logLevel)
	if err != nil {
		fmt.Fprintf(stderr, "crane: %v\n", err)
		return exitUsage
	}
	err = app.Run(ctx, s.app, log)
	var notEnrolled *agentrt.EnrolmentError
	switch {
	case err == nil:
		log.Info("stopped")
		return exitOK
	case errors.Is(err, agentrt.ErrRevoked):
		log.Error("stopped for good", logging.KeyError, err)
		return exitOK
	case errors.As(err, &notEnrolled):
		log.Error("not enrolled", logging.KeyError, err)
		return exitNotEnrolled
	default:
		log.Error("failed", logging.KeyError, err)
		return exitFailed
	}
}

// healthcheck asks the state folder, which needs neither a port nor a shell.
func healthcheck(stateDir string, stdout, stderr io.Writer) int {
	until, err := agentrt.HealthyUntil(stateDir)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "crane: %v\n", err)
		return exitFailed
	case until.Before(time.Now()):
		fmt.Fprintln(stderr, "crane: not connected")
		return exitFailed
	default:
		fmt.Fprintln(stdout, "connected")
		return exitOK
	}
}
