package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Event is a server-sent event; Name is "" for what its stream is about.
type Event struct {
	ID, Name, Data string
}

// Events is an open stream of server-sent events.
type Events struct {
	body  io.ReadCloser
	lines *bufio.Reader
}

// Follow opens a stream of events behind the one with this id; "" is the
// beginning. The stream is open until ctx ends or Close is called.
func (c *Client) Follow(ctx context.Context, path, lastEventID string) (*Events, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", path, err)
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Authorization", "Bearer "+c.token)
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	unhurried := &http.Client{Transport: c.http.Transport} // a stream has no time at which it must be over
	response, err := unhurried.Do(request)
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("read the answer to %s: %w", path, err)
		}
		return nil, problemOf("follow "+path, response.StatusCode, content)
	}
	return &Events{body: response.Body, lines: bufio.NewReader(response.Body)}, nil
}

// Next waits for the next event; io.EOF or another error when none follows.
func (e *Events) Next() (Event, error) {
	var event Event
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return Event{}, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case field == "id":
			event.ID = value
		case field == "event":
			event.Name = value
		case field == "data":
			event.Data = value
		case field == "" && value == "" && event.Data != "": // an empty line ends an event, a comment does not
			return event, nil
		}
	}
}

// Close hangs up.
func (e *Events) Close() { _ = e.body.Close() }
