// Package registrycheck asks registries whether they are there and take the
// credentials, as docker login does. It is an edge of the controller: the domain
// of registries knows it as a port.
//
// https://distribution.github.io/distribution/spec/auth/token/
package registrycheck

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"fairlead.dev/controller/internal/outbound"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
)

const (
	// timeout bounds each request, and the whole check.
	timeout = 10 * time.Second
	// maxAnswerBytes bounds what a registry may answer.
	maxAnswerBytes = 1 << 20
)

// Checker asks registries.
type Checker struct{ transport http.RoundTripper }

// New returns a checker. Without allowPrivate it calls public addresses only,
// and finds nothing wrong with registries at others.
func New(allowPrivate bool) *Checker {
	return &Checker{transport: limited{outbound.Client(timeout, allowPrivate).Transport}}
}

// Check asks the registry at host whether it is one and, with a login, whether
// it takes it. Errors: Invalid when it is no registry, Unauthenticated when it
// does not take the login or needs one, Unavailable when it does not answer.
func (c *Checker) Check(ctx context.Context, host string, login registry.Login) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := c.check(ctx, host, login)
	var private outbound.PrivateError
	if errors.As(err, &private) {
		return nil // not called, so nothing is known, and nothing is told
	}
	return err
}

func (c *Checker) check(ctx context.Context, host string, login registry.Login) error {
	reg, err := name.NewRegistry(host)
	if err != nil {
		return apperr.Wrap(apperr.Invalid, err, "it has no address that can be asked")
	}
	challenge, err := transport.Ping(ctx, reg, c.transport)
	if err != nil {
		return pingError(err)
	}
	scheme := strings.ToLower(challenge.Scheme)
	auth := authn.Anonymous
	switch {
	case login.Username != "":
		auth = &authn.Basic{Username: login.Username, Password: login.Password}
	case scheme == "basic":
		return apperr.New(apperr.Unauthenticated, "it needs a user and a token")
	case scheme == "bearer":
		return nil // what is public can be pulled without; the rest is seen when it is pulled
	}
	authenticated, err := transport.NewWithContext(ctx, reg, auth, c.transport, nil)
	if err != nil {
		return loginError(err)
	}
	return c.ask(ctx, reg, challenge, authenticated)
}

// ask does what says in the end whether a login is good.
func (c *Checker) ask(ctx context.Context, reg name.Registry, challenge *transport.Challenge, authenticated http.RoundTripper) error {
	address := url.URL{Scheme: "https", Host: reg.RegistryStr(), Path: "/v2/"}
	if challenge.Insecure {
		address.Scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := authenticated.RoundTrip(req)
	if err != nil {
		return loginError(err)
	}
	defer func() { _ = res.Body.Close() }()
	page := strings.HasPrefix(res.Header.Get("Content-Type"), "text/html")
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return refused()
	case res.StatusCode != http.StatusOK:
		return statusError(res.StatusCode)
	case page && res.Header.Get("Docker-Distribution-Api-Version") == "":
		return noRegistry() // a web page that answers everything
	}
	return nil
}

// loginError says what went wrong after the registry was found to be one.
func loginError(err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests {
		return refused()
	}
	return pingError(err)
}

func pingError(err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return statusError(answer.StatusCode)
	}
	var private outbound.PrivateError
	if errors.As(err, &private) {
		return private
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	// The innermost text of a request that failed: its URL is known.
	text := err.Error()
	var request *url.Error
	if errors.As(err, &request) {
		text = request.Err.Error()
	}
	return apperr.Wrap(apperr.Unavailable, err, "it can't be reached: %s", text)
}

func statusError(status int) error {
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
		return apperr.New(apperr.Unavailable, "it can't be reached: it answers %d", status)
	}
	return noRegistry()
}

func noRegistry() error {
	return apperr.New(apperr.Invalid, "there is no registry: it does not answer /v2/ as one does")
}

func refused() error {
	return apperr.New(apperr.Unauthenticated, "it does not take the user and the token")
}

// limited cuts off answers that are too long.
type limited struct{ inner http.RoundTripper }

// RoundTrip sends a request.
func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswerBytes), res.Body}
	return res, nil
}
