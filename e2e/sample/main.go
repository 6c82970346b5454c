// Command sample is the application that Fairlead's tests and first
// installation deploy: a web page that says who it is, and endpoints that make
// it fall ill, end or talk when told to.
//
// It reads:
//
//	PORT                 port to listen on, default 8080
//	GREETING             shown on the page; the only value that is
//	SAMPLE_VERSION       version to claim instead of the one built in
//	SAMPLE_UNHEALTHY     "true": /healthz answers 503 from the start
//	SAMPLE_READY_AFTER   time before /healthz answers 200, like 2s
//	SAMPLE_EXIT_CODE     end at once with this code instead of serving
//	SAMPLE_DATA          folder /data/* may touch, default /data
//
// `sample healthcheck` asks a running sample on the same PORT for its health
// and exits with 0 or 1. `sample work 5s` says so, works for that long and exits
// with 0, as a hook does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is stamped by the linker.
var version = "dev"

// stopGrace is how long requests under way may take once told to stop; less
// than the ten seconds an engine waits before it kills.
const stopGrace = 8 * time.Second

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	config, err := configFromEnv(os.LookupEnv)
	if err != nil {
		log.Error("bad environment", "error", err)
		return 2
	}
	switch {
	case len(args) == 1 && args[0] == "healthcheck":
		if err := healthcheck(context.Background(), config.port); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	case len(args) == 2 && args[0] == "work":
		return work(args[1], log)
	case len(args) > 0:
		fmt.Fprintln(os.Stderr, "usage: sample [healthcheck | work DURATION]")
		return 2
	case config.exitCode != nil:
		log.Info("told to end at once", "code", *config.exitCode)
		return *config.exitCode
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	code, err := serve(ctx, config, log)
	if err != nil {
		log.Error("could not serve", "error", err)
		return 1
	}
	return code
}

// work takes its time and ends.
func work(text string, log *slog.Logger) int {
	long, err := time.ParseDuration(text)
	if err != nil {
		log.Error("how long to work is no duration", "error", err)
		return 2
	}
	log.Info("working", "time", long)
	<-time.After(long)
	log.Info("worked")
	return 0
}

// serve runs the application until ctx ends (exit code 0) or a client asks for
// an end with a code.
func serve(ctx context.Context, config config, log *slog.Logger) (code int, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", config.port))
	if err != nil {
		return 0, fmt.Errorf("listen on port %s: %w", config.port, err)
	}
	app := newApp(config, time.Now, log)
	server := &http.Server{Handler: app.routes(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info("listening", "addr", listener.Addr().String(), "version", config.version)

	select {
	case err := <-failed:
		return 0, fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		log.Info("stopping: told to")
	case code = <-app.exit:
		log.Info("stopping: asked for an exit code", "code", code)
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return 0, fmt.Errorf("stop serving: %w", err)
	}
	return code, nil
}
