package controllertest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Client calls a controller's REST API with one person's token.
type Client struct {
	t     testing.TB
	url   string
	token string
	// header is sent besides; nil for most.
	header http.Header
}

// Reply is an answer of the API.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Anonymous returns a client without a token.
func (c *Controller) Anonymous(t testing.TB) *Client { return &Client{t: t, url: c.URL} }

// Admin returns a client that is logged in as the first user.
func (c *Controller) Admin(t testing.TB) *Client {
	t.Helper()
	return c.LogIn(t, AdminEmail, AdminPassword)
}

// LogIn returns a client that is logged in.
func (c *Controller) LogIn(t testing.TB, email, password string) *Client {
	t.Helper()
	client := c.Anonymous(t)
	client.token = client.Post("/api/auth/login", map[string]any{"email": email, "password": password}).Expect(t, http.StatusOK).String(t, "token")
	return client
}

// Register makes an account and returns a client that is logged in with it.
func (c *Controller) Register(t testing.TB, email string) *Client {
	t.Helper()
	c.Anonymous(t).Post("/api/auth/register", map[string]any{"email": email, "password": AdminPassword}).Expect(t, http.StatusCreated)
	return c.LogIn(t, email, AdminPassword)
}

// WithToken returns the client with another token.
func (c *Client) WithToken(token string) *Client { return &Client{t: c.t, url: c.url, token: token} }

// WithHeader returns the client that sends one more header.
func (c *Client) WithHeader(name, value string) *Client {
	other := *c
	if other.header = c.header.Clone(); other.header == nil {
		other.header = http.Header{}
	}
	other.header.Set(name, value)
	return &other
}

// Get calls the API with GET.
func (c *Client) Get(path string) Reply { return c.Do(http.MethodGet, path, nil) }

// Post calls the API with POST; a nil body sends none.
func (c *Client) Post(path string, body any) Reply { return c.Do(http.MethodPost, path, body) }

// Put calls the API with PUT; a nil body sends none.
func (c *Client) Put(path string, body any) Reply { return c.Do(http.MethodPut, path, body) }

// Patch calls the API with PATCH.
func (c *Client) Patch(path string, body any) Reply { return c.Do(http.MethodPatch, path, body) }

// Delete calls the API with DELETE.
func (c *Client) Delete(path string) Reply { return c.Do(http.MethodDelete, path, nil) }

// Do calls the API with a body that is encoded as JSON, or sent as it is when
// it is a string.
func (c *Client) Do(method, path string, body any) Reply {
	c.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, reader)
	if err != nil {
		c.t.Fatal(err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return Reply{Status: res.StatusCode, Header: res.Header, Body: content}
}

// Expect fails the test unless the answer has this status.
func (r Reply) Expect(t testing.TB, status int) Reply {
	t.Helper()
	if r.Status != status {
		t.Fatalf("status %d, want %d: %s", r.Status, status, r.Body)
	}
	return r
}

// Into decodes the body.
func (r Reply) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		t.Fatalf("decode %s: %v", r.Body, err)
	}
}

// Object decodes the body as an object.
func (r Reply) Object(t testing.TB) map[string]any {
	t.Helper()
	var object map[string]any
	r.Into(t, &object)
	return object
}

// String returns a text member of the body.
func (r Reply) String(t testing.TB, key string) string {
	t.Helper()
	text, ok := r.Object(t)[key].(string)
	if !ok {
		t.Fatalf("no text %q in %s", key, r.Body)
	}
	return text
}

// Token returns the client's token.
func (c *Client) Token() string { return c.token }

// In returns the client for a part of its test: failures are that part's.
func (c *Client) In(t testing.TB) *Client {
	other := *c
	other.t = t
	return &other
}
