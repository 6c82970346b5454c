// Command quickstart takes a running controller through a first deployment as a
// person would by hand: it logs in, describes the sample application, makes this
// machine a node with the generated install script, deploys, and looks at the
// result. It uses nothing but the REST API, says what it does, and run again
// finds what is there.
//
//	quickstart -controller http://127.0.0.1:8080 -state .fairlead up
//	quickstart -controller http://127.0.0.1:8080 -state .fairlead down
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// settings is what the command line says.
type settings struct {
	controller string
	email      string
	// state is the folder with the password, for the agent's files and for
	// what a person needs afterwards.
	state    string
	registry string
	appPort  int
}

func (s settings) passwordFile() string { return filepath.Join(s.state, "admin-password") }

// curlFile has curl's options for calling the API, the token among them: it is
// then on no command line.
func (s settings) curlFile() string { return filepath.Join(s.state, "curlrc") }

// deploymentsFile lists the ids of deployments, so that they can be taken away
// without a controller too.
func (s settings) deploymentsFile() string { return filepath.Join(s.state, "deployments") }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var s settings
	flag.StringVar(&s.controller, "controller", "http://127.0.0.1:8080", "`address` of the controller")
	flag.StringVar(&s.email, "email", "admin@fairlead.local", "e-mail `address` to log in with")
	flag.StringVar(&s.state, "state", ".fairlead", "`folder` with the file admin-password")
	flag.StringVar(&s.registry, "registry", "127.0.0.1:5000", "`host:port` of a registry this machine may push to and pull from")
	flag.IntVar(&s.appPort, "app-port", 8090, "`port` of this machine to publish the sample on")
	flag.Parse()

	var err error
	if s.state, err = filepath.Abs(s.state); err != nil {
		return fmt.Errorf("state %q: %w", s.state, err)
	}
	switch flag.Arg(0) {
	case "up":
		return up(ctx, s)
	case "down":
		return down(ctx, s)
	default:
		return errors.New("say up or down")
	}
}
