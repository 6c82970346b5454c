// Command edge is the reverse proxy of a node: its agent starts it when a
// deployment asks for routes and steers it through a Unix socket.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // the image holds nothing but this program

	"fairlead.dev/edge/internal/app"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/edgeapi"
	"fairlead.dev/shared/logging"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `edge is the reverse proxy of a Fairlead node. Its agent runs it.

usage: edge [command] [flags]

commands:
  run          serve (when no command is given)
  healthcheck  end with 0 when the edge that runs here serves
  version      print the version

edge run --help lists the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, buildinfo.Line("edge"))
		return exitOK
	case "help":
		fmt.Fprint(stdout, usage)
		return exitOK
	case "run", "healthcheck":
	default:
		fmt.Fprintf(stderr, "edge: unknown command %q\n\n%s", command, usage)
		return exitUsage
	}
	config, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return exitUsage
	}
	if command == "healthcheck" {
		err = healthy(ctx, config.Dir)
	} else {
		err = serve(ctx, config, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "edge: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func parse(args []string, stderr io.Writer) (app.Config, error) {
	var c app.Config
	flags := flag.NewFlagSet("edge", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.Dir, "dir", "/data", "`folder` for routes, certificates and the agent's socket")
	flags.IntVar(&c.HTTPPort, "http-port", 80, "`port` for http")
	flags.IntVar(&c.HTTPSPort, "https-port", 443, "`port` for https, TCP and UDP")
	flags.DurationVar(&c.Grace, "grace", 10*time.Second, "how long requests may take to end when the edge is stopped")
	flags.Func("trusted-proxy", "`network` whose X-Forwarded-* headers are believed (repeatable)", func(text string) error {
		if _, _, err := net.ParseCIDR(text); err != nil {
			return err
		}
		c.TrustedProxies = append(c.TrustedProxies, text)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "edge: %q is not understood\n", flags.Arg(0))
		return c, errors.New("unexpected argument")
	}
	return c, nil
}

func serve(ctx context.Context, config app.Config, stderr io.Writer) error {
	log, err := logging.New(stderr, "json", "info")
	if err != nil {
		return err
	}
	return app.Run(ctx, config, log)
}

// healthy asks the edge that runs on the folder.
func healthy(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, edgeapi.SocketName))
	}}}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edge"+edgeapi.PathHealth, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(ask)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the edge answers %s", answer.Status)
	}
	return nil
}
