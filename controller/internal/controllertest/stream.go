package controllertest

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Event is one server-sent event.
type Event struct {
	ID, Name, Data string
}

// Events is an open stream of server-sent events.
type Events struct {
	t        testing.TB
	response *http.Response
	lines    *bufio.Reader
	stop     context.CancelFunc
}

// Follow opens a stream of events after the one with this id; "" is the
// beginning. It ends with the test.
func (c *Client) Follow(path, lastEventID string) *Events {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.token)
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	// A connection of its own: what is not read of one stream is nobody else's.
	//nolint:bodyclose // Close closes it
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	e := &Events{t: c.t, response: res, lines: bufio.NewReader(res.Body), stop: cancel}
	c.t.Cleanup(e.Close)
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream" {
		line, _ := e.lines.ReadString('\n')
		c.t.Fatalf("GET %s: status %d, content type %q: %s", path, res.StatusCode, got, line)
	}
	return e
}

// Close hangs up.
func (e *Events) Close() {
	e.stop()
	_ = e.response.Body.Close()
}

// Next waits for the next event; its name is "" for a line of a log. ok is
// false when the stream has ended.
func (e *Events) Next() (event Event, ok bool) {
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return event, false
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && event.Data != "":
			return event, true
		case field == "id":
			event.ID = value
		case field == "event":
			event.Name = value
		case field == "data":
			event.Data = value
		}
	}
}

// Line waits for the next event, which must be a line of a log, and returns
// the id and the text.
func (e *Events) Line() (id, text string) {
	e.t.Helper()
	event, ok := e.Next()
	if !ok || event.Name != "" {
		e.t.Fatalf("got the event %+v (%v), want a line of the log", event, ok)
	}
	var line struct{ Text string }
	if err := json.Unmarshal([]byte(event.Data), &line); err != nil {
		e.t.Fatal(err)
	}
	return event.ID, line.Text
}

// End waits for the last event and returns its reason.
func (e *Events) End() string {
	e.t.Helper()
	for {
		event, ok := e.Next()
		if !ok {
			e.t.Fatal("the stream ended without a last event")
		}
		if event.Name != "end" {
			continue
		}
		var end struct{ Reason string }
		if err := json.Unmarshal([]byte(event.Data), &end); err != nil {
			e.t.Fatal(err)
		}
		if _, more := e.Next(); more {
			e.t.Fatal("something follows the last event")
		}
		return end.Reason
	}
}

// Terminal is an open WebSocket to a command in a container.
type Terminal struct {
	t    testing.TB
	conn *websocket.Conn
}

// Exec opens a terminal and says what to run. It ends with the test.
func (c *Client) Exec(path string, start map[string]any) *Terminal {
	c.t.Helper()
	//nolint:bodyclose // the library closes it
	conn, res, err := websocket.Dial(c.t.Context(), c.url+path, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}},
	})
	if err != nil {
		c.t.Fatalf("open a terminal: %v (%v)", err, res)
	}
	c.t.Cleanup(func() { _ = conn.CloseNow() })
	x := &Terminal{t: c.t, conn: conn}
	x.Say(map[string]any{"start": start})
	return x
}

// Say sends a control message.
func (x *Terminal) Say(message map[string]any) {
	x.t.Helper()
	text, err := json.Marshal(message)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := x.conn.Write(x.t.Context(), websocket.MessageText, text); err != nil {
		x.t.Fatal(err)
	}
}

// Type sends input.
func (x *Terminal) Type(text string) {
	x.t.Helper()
	if err := x.conn.Write(x.t.Context(), websocket.MessageBinary, append([]byte{0}, text...)); err != nil {
		x.t.Fatal(err)
	}
}

// Seen is what a terminal showed until something ended it.
type Seen struct {
	Stdout, Stderr string
	// Exit is the exit code, -1 when the command did not say.
	Exit int
	// Reason and Message are of the error that ended it.
	Reason, Message string
	// Code is how the connection was closed.
	Code websocket.StatusCode
}

// Read reads until the connection is closed, or what was seen is enough.
func (x *Terminal) Read(enough func(Seen) bool) Seen {
	x.t.Helper()
	s := Seen{Exit: -1}
	for !enough(s) {
		kind, message, err := x.conn.Read(x.t.Context())
		if err != nil {
			s.Code = websocket.CloseStatus(err)
			return s
		}
		if kind == websocket.MessageBinary {
			if message[0] == 2 {
				s.Stderr += string(message[1:])
			} else {
				s.Stdout += string(message[1:])
			}
			continue
		}
		var c struct {
			Exit  *struct{ Code int }
			Error *struct{ Reason, Message string }
		}
		if err := json.Unmarshal(message, &c); err != nil {
			x.t.Fatal(err)
		}
		if c.Exit != nil {
			s.Exit = c.Exit.Code
		}
		if c.Error != nil {
			s.Reason, s.Message = c.Error.Reason, c.Error.Message
		}
	}
	return s
}

// ReadAll reads until the connection is closed.
func (x *Terminal) ReadAll() Seen { return x.Read(func(Seen) bool { return false }) }
