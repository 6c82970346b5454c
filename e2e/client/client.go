// Package client speaks Fairlead's REST API as a program outside would: it
// knows the API's words and nothing of the controller's insides.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// Object is a JSON object.
type Object = map[string]any

// Client calls one controller. It may be used by several goroutines once it is
// logged in.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New returns a client of the controller at base, such as
// "http://127.0.0.1:8080".
func New(base string) *Client {
	return &Client{base: base, http: &http.Client{Timeout: 45 * time.Second}}
}

// NewOver returns a client whose calls go through a transport, such as one that
// spreads them over several controllers.
func NewOver(base string, transport http.RoundTripper) *Client {
	c := New(base)
	c.http.Transport = transport
	return c
}

// Problem is what the API says when it refuses, as an error.
type Problem struct {
	// Request is the method and path of the call.
	Request  string `json:"-"`
	Status   int    `json:"status"`
	Message  string `json:"message"`
	Property string `json:"property"`
	Reason   string `json:"error"`
}

// Error names the call, the status and what the API said.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", p.Request, p.Status, http.StatusText(p.Status), p.Message)
}

// StatusOf returns the HTTP status that a call failed with, 0 when there was
// no answer.
func StatusOf(err error) int {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// Login gets a session, which later calls use.
func (c *Client) Login(ctx context.Context, email, password string) error {
	var session struct {
		Token string `json:"token"`
	}
	err := c.Call(ctx, http.MethodPost, "/api/auth/login", Object{"email": email, "password": password}, &session)
	c.token = session.Token
	return err
}

// Token returns the session's token, for other programs of the same person; ""
// before Login.
func (c *Client) Token() string { return c.token }

// Call sends a request, with in as its body unless that is nil, and decodes
// the answer into out unless that is nil: a *[]byte takes it as it is. What the
// API refuses is a *Problem.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the body of %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(content)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return problemOf(method+" "+path, response.StatusCode, content)
	}
	return decode(content, out, method+" "+path)
}

func problemOf(request string, status int, content []byte) error {
	p := &Problem{}
	if json.Unmarshal(content, p) != nil || p.Message == "" {
		p.Message = string(content)
	}
	p.Request, p.Status = request, status
	return p
}

func decode(content []byte, out any, request string) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = content
		return nil
	}
	if err := json.Unmarshal(content, out); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", request, err)
	}
	return nil
}
