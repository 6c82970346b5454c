// Command crane is the agent for Kubernetes: it runs in a cluster, dials the
// controller, and makes the cluster run what the controller says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"fairlead.dev/crane/internal/app"
	"fairlead.dev/crane/internal/fetch"
	"fairlead.dev/shared/agentrt/program"
	"fairlead.dev/shared/buildinfo"
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
		return program.OK
	case "help":
		fmt.Fprint(stdout, usage)
		return program.OK
	case "fill": // what the agent has run before pods that need files in a volume
		if err := fetch.Run(ctx, args, getenv, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return program.Failed
		}
		return program.OK
	case "run", "healthcheck", "doctor":
	default:
		fmt.Fprintf(stderr, "crane: unknown command %q\n\n%s", command, usage)
		return program.Usage
	}
	s, err := parse(command, args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return program.OK
	}
	if err != nil {
		return program.Usage
	}
	p := program.Program{Name: "crane", Stdout: stdout, Stderr: stderr}
	switch command {
	case "healthcheck":
		return p.Healthcheck(s.app.StateDir)
	case "doctor":
		return p.Doctor(func(w io.Writer) (bool, error) { return app.Diagnose(ctx, s.app, w) })
	default:
		return p.Serve(s.logFormat, s.logLevel, func(log *slog.Logger) error { return app.Run(ctx, s.app, log) })
	}
}
