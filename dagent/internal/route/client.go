package route

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/edgeapi"
)

const (
	askTimeout = 20 * time.Second
	maxAnswer  = 16 << 20
	// maxSocketPath is what every system takes for the path of a socket.
	maxSocketPath = 100
)

// conversation is with the edge, on its socket.
type conversation struct{ http http.Client }

func newClient(dir string) *conversation {
	return &conversation{http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, dir) },
		// One connection for each question: the edge may be another one by the next.
		DisableKeepAlives: true,
	}}}
}

// dialSocket connects to the edge's socket. The path of a socket has to be
// short, that of a folder does not.
func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	path := filepath.Join(dir, edgeapi.SocketName)
	if len(path) > maxSocketPath {
		folder, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		defer func() { _ = folder.Close() }()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), edgeapi.SocketName)
	}
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

func (c *conversation) healthy(ctx context.Context) error {
	return c.ask(ctx, http.MethodGet, edgeapi.PathHealth, nil, nil)
}

func (c *conversation) check(ctx context.Context, owner string, routes []edgeapi.Route) error {
	return c.ask(ctx, http.MethodPut, edgeapi.PathRoutes+"/"+url.PathEscape(owner)+"?check=true", edgeapi.Routes{Routes: routes}, nil)
}

func (c *conversation) set(ctx context.Context, owner string, routes []edgeapi.Route) error {
	return c.ask(ctx, http.MethodPut, edgeapi.PathRoutes+"/"+url.PathEscape(owner), edgeapi.Routes{Routes: routes}, nil)
}

func (c *conversation) forget(ctx context.Context, owner string) error {
	return c.ask(ctx, http.MethodDelete, edgeapi.PathRoutes+"/"+url.PathEscape(owner), nil, nil)
}

func (c *conversation) configure(ctx context.Context, s edgeapi.Settings) error {
	return c.ask(ctx, http.MethodPut, edgeapi.PathSettings, s, nil)
}

func (c *conversation) state(ctx context.Context) (s edgeapi.State, err error) {
	err = c.ask(ctx, http.MethodGet, edgeapi.PathRoutes, nil, &s)
	return s, err
}

func (c *conversation) drain(ctx context.Context, upstreams []string, within time.Duration) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, within+askTimeout)
	defer cancel()
	var out edgeapi.Drained
	err = c.ask(ctx, http.MethodPost, edgeapi.PathDrain, edgeapi.Drain{Upstreams: upstreams, WithinMillis: within.Milliseconds()}, &out)
	return out.Left, err
}

// ask sends one question. Errors are Conflict for a route that somebody else
// has, Unavailable when the edge does not answer, Internal otherwise.
func (c *conversation) ask(ctx context.Context, method, path string, in, out any) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("ask the edge: %w", err)
		}
	}
	question, err := http.NewRequestWithContext(ctx, method, "http://edge"+path, &body)
	if err != nil {
		return fmt.Errorf("ask the edge: %w", err)
	}
	answer, err := c.http.Do(question)
	if err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "reach this node's edge proxy")
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= http.StatusMultipleChoices {
		return refusal(answer)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(out); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "read what this node's edge proxy answers")
	}
	return nil
}

func refusal(answer *http.Response) error {
	said := edgeapi.Refusal{Message: answer.Status}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&said); err != nil && !errors.Is(err, io.EOF) {
		said.Message = answer.Status
	}
	switch answer.StatusCode {
	case http.StatusConflict:
		return apperr.New(apperr.Conflict, "routing: %s; choose another domain or path, or stop that deployment", said.Message).WithField("routing", said.Owner)
	case http.StatusBadRequest:
		return apperr.New(apperr.Invalid, "routing: %s", said.Message)
	}
	return apperr.New(apperr.Internal, "this node's edge proxy: %s", said.Message)
}

func unreachable(err error) bool { return err != nil && apperr.Is(err, apperr.Unavailable) }
