package teamapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/workload"
)

// Channels: the first byte of a binary message.
const (
	channelStdin  byte = 0
	channelStdout byte = 1
	channelStderr byte = 2
)

const (
	// startWithin is how long a client may take to say what is to be run.
	startWithin = 10 * time.Second
	// maxInput is the longest message of a client, in bytes; inputPart is what
	// of it the agent gets at once.
	maxInput  = 64 << 10
	inputPart = 32 << 10
	pingEvery = 30 * time.Second
	// terminalCheckEvery is how soon a terminal whose user lost the right to it
	// is closed.
	terminalCheckEvery = time.Second
)

type execInput struct {
	NodePath
	Prefix  string `path:"prefix" maxLength:"63"`
	Name    string `path:"name" maxLength:"63"`
	Upgrade string `header:"Upgrade" doc:"websocket"`
	Origin  string `header:"Origin"`
}

// execControl is a text message of either side; one of its members is set.
type execControl struct {
	Start       *execStart  `json:"start,omitempty"`
	Resize      *execSize   `json:"resize,omitempty"`
	StdinClosed bool        `json:"stdinClosed,omitempty"`
	Started     bool        `json:"started,omitempty"`
	Exit        *execExit   `json:"exit,omitempty"`
	Error       *execFailed `json:"error,omitempty"`
}

type execStart struct {
	Command []string          `json:"command"`
	TTY     bool              `json:"tty"`
	Stdin   bool              `json:"stdin"`
	Size    execSize          `json:"size"`
	Env     map[string]string `json:"env"`
}

type execSize struct {
	Columns uint32 `json:"columns"`
	Rows    uint32 `json:"rows"`
}

type execExit struct {
	Code int `json:"code"`
}

type execFailed struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// execContainer answers before the connection is upgraded who may not, and
// whose page asks: a WebSocket is not bound to its page's origin by browsers.
func (a *api) execContainer(ctx context.Context, in *execInput) (*streamed, error) {
	if err := a.deps.Streams.Check(ctx, in.NodeID, authz.ContainerExec); err != nil {
		return nil, err
	}
	if !strings.EqualFold(in.Upgrade, "websocket") {
		return nil, newProblem(http.StatusUpgradeRequired, "this endpoint speaks WebSocket: see docs/api.md")
	}
	return &streamed{func(c huma.Context) {
		if !a.sameOrigin(in.Origin, c.Host()) {
			//nolint:contextcheck // c is the context
			a.fail(c, apperr.New(apperr.Forbidden, "a page of another origin may not open terminals"))
			return
		}
		g := humagin.Unwrap(c)
		// Origins were decided above, by what is this controller's public URL.
		conn, err := websocket.Accept(g.Writer, g.Request, &websocket.AcceptOptions{OriginPatterns: []string{"*"}})
		if err != nil {
			return // it has answered
		}
		conn.SetReadLimit(maxInput)
		t := &terminal{api: a, conn: conn, in: in, allowed: recheck(ctx, authz.ContainerExec)}
		t.run(ctx)
	}}, nil
}

// sameOrigin reports whether a request comes from a page of this controller or
// from no page at all.
func (a *api) sameOrigin(origin, host string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	public, err := url.Parse(a.deps.PublicURL)
	return strings.EqualFold(u.Host, host) || err == nil && strings.EqualFold(u.Host, public.Host) && u.Scheme == public.Scheme
}

// terminal is one WebSocket with a command behind it.
type terminal struct {
	api     *api
	conn    *websocket.Conn
	in      *execInput
	allowed func(context.Context) error
}

// run serves the connection to its end.
func (t *terminal) run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { _ = t.conn.CloseNow() }()
	request, err := t.begin(ctx)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	stream, err := t.api.deps.Streams.Open(ctx, t.in.NodeID, request)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	defer stream.Close(nil)
	if t.say(ctx, execControl{Started: true}) != nil {
		return
	}
	go func() { // ends with the connection, which ends when this returns
		cancel(t.input(ctx, stream))
	}()
	go t.watch(ctx, cancel)
	stop := context.AfterFunc(ctx, func() { stream.Close(context.Cause(ctx)) })
	defer stop()
	for {
		up, err := stream.Recv()
		if err != nil {
			if ctx.Err() != nil { // the stream ended because this did
				err = context.Cause(ctx)
			}
			t.fail(ctx, err)
			return
		}
		if up.End != nil {
			t.end(ctx, *up.End)
			return
		}
		if len(up.Data) > 0 && t.output(ctx, up) != nil {
			return
		}
	}
}

// begin waits for the first message.
func (t *terminal) begin(ctx context.Context) (bulk.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	kind, message, err := t.conn.Read(ctx)
	if err != nil {
		return bulk.Request{}, errGone
	}
	var c execControl
	if kind != websocket.MessageText || json.Unmarshal(message, &c) != nil || c.Start == nil {
		return bulk.Request{}, apperr.New(apperr.Invalid, `the first message must be a text such as {"start": {"command": ["sh"]}}`)
	}
	return bulk.Request{
		Container: workload.ContainerID{Prefix: t.in.Prefix, Name: t.in.Name},
		Exec: &bulk.Exec{
			Command: c.Start.Command, TTY: c.Start.TTY, Stdin: c.Start.Stdin,
			Size: bulk.Size(c.Start.Size), Environment: c.Start.Env,
		},
	}, nil
}

var errGone = errors.New("the client is gone")

// input passes on what the client sends, as fast as the command reads it. What
// comes after the command has ended is nobody's, and no reason to end the
// terminal: its last words may still be on their way.
func (t *terminal) input(ctx context.Context, stream bulk.Stream) error {
	// The connection is broken off when the context of a call ends, and there
	// is a last word to say.
	ctx = context.WithoutCancel(ctx)
	over := false
	send := func(d bulk.Down) { over = over || stream.Send(d) != nil }
	for {
		kind, message, err := t.conn.Read(ctx)
		if err != nil {
			return errGone
		}
		if kind == websocket.MessageBinary {
			if len(message) == 0 || message[0] != channelStdin {
				return apperr.New(apperr.Invalid, "a binary message must begin with the byte 0, for the command's input")
			}
			for part := range slices.Chunk(message[1:], inputPart) {
				send(bulk.Down{Input: part})
			}
			continue
		}
		var c execControl
		if err := json.Unmarshal(message, &c); err != nil {
			return apperr.New(apperr.Invalid, "a text message must be JSON")
		}
		if c.Resize != nil {
			size := bulk.Size(*c.Resize)
			if err := size.Check(); err != nil {
				return err
			}
			send(bulk.Down{Resize: &size})
		}
		if c.StdinClosed {
			send(bulk.Down{InputClosed: true})
		}
	}
}

// watch ends the terminal when its client does not answer any more, or may not
// have it any more.
func (t *terminal) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	ping, check := time.NewTicker(pingEvery), time.NewTicker(terminalCheckEvery)
	defer ping.Stop()
	defer check.Stop()
	for {
		var err error
		select {
		case <-ping.C:
			bounded, done := context.WithTimeout(context.WithoutCancel(ctx), pingEvery)
			if t.conn.Ping(bounded) != nil {
				err = errGone
			}
			done()
		case <-check.C:
			err = t.allowed(ctx)
		case <-ctx.Done():
			return
		}
		if err != nil {
			cancel(err)
			return
		}
	}
}

func (t *terminal) output(ctx context.Context, up bulk.Up) error {
	message := make([]byte, 1, 1+len(up.Data))
	message[0] = channelStdout
	if up.Stream == workload.StreamStderr {
		message[0] = channelStderr
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stuckAfter)
	defer cancel()
	return t.conn.Write(ctx, websocket.MessageBinary, append(message, up.Data...))
}

func (t *terminal) say(ctx context.Context, c execControl) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stuckAfter)
	defer cancel()
	return t.conn.Write(ctx, websocket.MessageText, text)
}

func (t *terminal) end(ctx context.Context, end bulk.End) {
	switch {
	case end.Err != nil:
		t.fail(ctx, end.Err)
	case end.ExitCode == nil:
		t.fail(ctx, apperr.New(apperr.Unavailable, "the command ended and nobody knows how"))
	default:
		_ = t.say(ctx, execControl{Exit: &execExit{Code: *end.ExitCode}}) // the client may be gone
		_ = t.conn.Close(websocket.StatusNormalClosure, "")
	}
}

// fail says why it is over and closes the connection.
func (t *terminal) fail(ctx context.Context, err error) {
	if errors.Is(err, errGone) {
		return
	}
	out := toEnd(err)
	if out.Reason == reasonInternal {
		t.api.log.Warn("a terminal broke", logging.KeyError, err)
	}
	_ = t.say(ctx, execControl{Error: &execFailed{Reason: out.Reason, Message: out.Message}}) // the client may be gone
	code := websocket.StatusInternalError
	switch apperr.KindOf(err) {
	case apperr.Invalid, apperr.Forbidden, apperr.Unauthenticated, apperr.NotFound, apperr.Precondition, apperr.Unsupported:
		code = websocket.StatusPolicyViolation
	case apperr.TooMany:
		code = websocket.StatusTryAgainLater
	case apperr.Unavailable:
		code = websocket.StatusServiceRestart
	default: // ours
	}
	_ = t.conn.Close(code, out.Reason)
}
