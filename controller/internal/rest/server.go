// Package rest is the controller's HTTP server: the listener, what every
// request passes through, health and metrics. It knows no noun of the domain.
package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"fairlead.dev/shared/logging"
)

// Timeouts of the server. What waits or watches for longer than they allow sets
// its own.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	// writeTimeout is longer than any call waits before it answers. It ends the
	// answer to a client that takes none of it.
	writeTimeout   = 15 * time.Minute
	idleTimeout    = 120 * time.Second
	maxHeaderBytes = 64 << 10
)

// Config is what a Server needs.
type Config struct {
	Listener net.Listener
	Handler  http.Handler
	Log      *slog.Logger
	// StopTimeout bounds how long Run waits for requests under way.
	StopTimeout time.Duration
	// WriteTimeout bounds handling and answering a request; 0 means 15 minutes.
	WriteTimeout time.Duration
}

// Server serves HTTP on one listener.
type Server struct {
	config Config
	http   *http.Server
}

// New returns a server that serves once Run is called.
func New(c Config) *Server {
	log := c.Log.With(logging.KeyComponent, "rest")
	return &Server{config: c, http: &http.Server{
		Handler:           c.Handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      cmp.Or(c.WriteTimeout, writeTimeout),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// errStopping is why requests under way end when the server stops.
var errStopping = errors.New("the controller is stopping")

// Run serves until ctx ends, then takes no new requests, lets those under way
// finish within the stop timeout, and cuts the rest.
func (s *Server) Run(ctx context.Context) error {
	// Requests live on after ctx ends, until Shutdown has given them time.
	base, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(errStopping)
	s.http.BaseContext = func(net.Listener) context.Context { return base }

	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.config.Listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.StopTimeout)
	defer cancel()
	if err := s.http.Shutdown(deadline); err != nil {
		s.config.Log.Warn("requests were cut at the stop deadline", logging.KeyError, err)
		cut(errStopping)
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}
