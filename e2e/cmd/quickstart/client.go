package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// client speaks the team API as any program outside would.
type client struct {
	base  string
	token string
	http  *http.Client
}

func newClient(base string) *client {
	return &client{base: base, http: &http.Client{Timeout: 30 * time.Second}}
}

// problem is what the API says when it refuses.
type problem struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// call sends a request and decodes the answer into out unless that is nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
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
		var p problem
		if json.Unmarshal(content, &p) != nil || p.Message == "" {
			p.Message = string(content)
		}
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, p.Message)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(content, out); err != nil {
		return fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// named is anything of the API that has an id and a name.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// ensure finds what is called name in the list at path, or makes it.
func (c *client) ensure(ctx context.Context, path, name string, draft any) (found named, made bool, err error) {
	var list []named
	if err := c.call(ctx, http.MethodGet, path, nil, &list); err != nil {
		return named{}, false, err
	}
	for _, one := range list {
		if one.Name == name {
			return one, false, nil
		}
	}
	err = c.call(ctx, http.MethodPost, path, draft, &found)
	return found, true, err
}

// await polls until done says so. It fails with what done reported last.
func await(ctx context.Context, patience time.Duration, what string, done func() (ok bool, seen string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: still %s after %s", what, seen, patience)
		}
	}
}
