// Command controller is the controller: the one place that knows what every
// node should run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"fairlead.dev/controller/internal/app"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/logging"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(args, environ []string, stdout, stderr io.Writer) int {
	command := "serve"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, buildinfo.Line("controller"))
		return exitOK
	case "root":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return rootCommand(ctx, args, environ, stdout, stderr)
	case "release-key":
		return releaseKeyCommand(args, environ, stdout, stderr)
	case "artifacts":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return artifactsCommand(ctx, args, environ, stdout, stderr)
	case "serve", "migrate", "validate-config":
	case "help":
		fmt.Fprint(stdout, usage())
		return exitOK
	default:
		fmt.Fprintf(stderr, "controller: unknown command %q\n\n", command)
		fmt.Fprint(stderr, usage())
		return exitUsage
	}
	c, err := config.Load(args, environ)
	if err != nil {
		return misconfigured(err, usage(), stdout, stderr)
	}
	if command == "validate-config" {
		fmt.Fprintln(stdout, "the configuration is good")
		return exitOK
	}
	log, err := logging.New(stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if command == "migrate" {
		err = app.Migrate(ctx, c, log)
	} else {
		err = serve(ctx, c, log)
	}
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func usage() string {
	return fmt.Sprintf(`usage: controller [command] [flags]

commands:
  serve            run the controller (default)
  migrate          bring the database's schema up to date and exit
  validate-config  check the configuration and exit
  root             replace the private root; controller root help says more
  release-key      replace the key that signs scripts and builds: controller release-key rotate
  artifacts        bring an agent to a registry: controller artifacts push dagent|crane <repository>
  version          print the version and exit

flags, with their environment variables; a secret can also be given as the
path of a file that holds it:
%s`, config.Usage())
}

// misconfigured tells what is wrong with the configuration, or, where a flag asks
// for it, the command's usage.
func misconfigured(err error, usage string, stdout, stderr io.Writer) int {
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	fmt.Fprintf(stderr, "controller: the configuration has problems:\n%v\n", err)
	return exitUsage
}
