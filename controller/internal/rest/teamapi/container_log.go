package teamapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

type containerLogInput struct {
	NodePath
	Prefix      string `path:"prefix" maxLength:"63"`
	Name        string `path:"name" maxLength:"63"`
	Take        int    `query:"take" default:"100" minimum:"1" maximum:"1000" doc:"How many of the last lines"`
	Release     int64  `query:"release" minimum:"1" doc:"Of the container that served in this release of its deployment, which may be gone"`
	Follow      bool   `query:"follow" doc:"Answer as a stream of server-sent events and go on with new lines"`
	Accept      string `header:"Accept" doc:"text/event-stream is another way to ask for follow"`
	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"Id of the last event that was seen: the stream goes on after it"`
}

func (in *containerLogInput) streams() bool {
	return in.Follow || strings.Contains(in.Accept, eventStream)
}

// container names whose log is asked for. Agents keep logs of containers that
// are gone, and find the one of a release by this ending of a name.
func (in *containerLogInput) container() workload.ContainerID {
	id := workload.ContainerID{Prefix: in.Prefix, Name: in.Name}
	if in.Release > 0 {
		id.Name += ".release-" + strconv.FormatInt(in.Release, 10)
	}
	return id
}

type containerLogOutput struct {
	Logs []string `json:"logs"`
}

// documentLog says what the route answers: huma can't know what a function
// writes.
func (a *api) documentLog(path string) {
	answer := a.OpenAPI().Paths[path].Get.Responses["200"]
	answer.Description = "The end of the log, or with follow a stream of server-sent events: see docs/api.md"
	answer.Content = map[string]*huma.MediaType{
		"application/json": {Schema: huma.SchemaFromType(a.OpenAPI().Components.Schemas, reflect.TypeFor[containerLogOutput]())},
		eventStream:        {Schema: &huma.Schema{Type: huma.TypeString}},
	}
}

func (a *api) containerLog(ctx context.Context, in *containerLogInput) (*streamed, error) {
	if in.streams() {
		return a.followContainerLog(ctx, in)
	}
	r, err := a.deps.Commands.Do(ctx, command.Request{
		NodeID: in.NodeID, Operation: command.ReadLogs, Container: in.container(), Tail: in.Take,
	})
	if err != nil {
		return nil, err
	}
	out := containerLogOutput{Logs: make([]string, len(r.Lines))}
	for i, line := range r.Lines {
		out.Logs[i] = line.Text
	}
	return &streamed{func(c huma.Context) {
		c.SetHeader("Content-Type", "application/json")
		c.SetStatus(http.StatusOK)
		_ = json.NewEncoder(c.BodyWriter()).Encode(out) // the client may be gone
	}}, nil
}

func (a *api) followContainerLog(ctx context.Context, in *containerLogInput) (*streamed, error) {
	from, err := parsePlace(in.LastEventID)
	if err != nil {
		return nil, err
	}
	request := bulk.Request{
		Container: in.container(),
		Logs:      &bulk.Logs{Tail: in.Take, Follow: true},
	}
	if in.LastEventID != "" {
		request.Logs.Tail, request.Logs.Since = bulk.MaxTail, from.time
	}
	stream, err := a.deps.Streams.Open(ctx, in.NodeID, request)
	if err != nil {
		return nil, err
	}
	return &streamed{func(c huma.Context) {
		f := &follower{eventWriter: &eventWriter{out: humagin.Unwrap(c)}, stream: stream, at: from, skip: from.count}
		f.run(ctx, recheck(ctx, request.Action()))
	}}, nil
}

// place is where in a log a reader is: after the count-th line of that time.
type place struct {
	time  time.Time
	count int
}

// String returns the place as the id of an event.
func (p place) String() string { return fmt.Sprintf("%d-%d", p.time.UnixNano(), p.count) }

// parsePlace reads the id of an event; "" is the beginning.
func parsePlace(id string) (place, error) {
	if id == "" {
		return place{}, nil
	}
	nanoseconds, count, _ := strings.Cut(id, "-")
	at, err := strconv.ParseInt(nanoseconds, 10, 64)
	n, countErr := strconv.Atoi(count)
	if err != nil || countErr != nil || n < 0 {
		return place{}, apperr.InvalidField("Last-Event-ID", id, "is not the id of an event of this stream")
	}
	return place{time: time.Unix(0, at).UTC(), count: n}, nil
}

// follower writes a log as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
type follower struct {
	*eventWriter
	stream bulk.Stream
	at     place
	// skip lines of the time at.time were seen before.
	skip int
}

// run ends when the log, the reader, its right to read or the controller does.
func (f *follower) run(ctx context.Context, allowed func(context.Context) error) {
	defer f.stream.Close(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.begin() != nil {
		return
	}
	parts, broken := make(chan bulk.Up), make(chan error, 1)
	go func() { // ends with the stream
		for {
			up, err := f.stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case parts <- up:
			case <-ctx.Done():
				return
			}
		}
	}()
	heartbeat, check := time.NewTicker(heartbeatEvery), time.NewTicker(recheckEvery)
	defer heartbeat.Stop()
	defer check.Stop()
	for {
		select {
		case up := <-parts:
			f.write(up)
			if f.flush() != nil || up.End != nil {
				return
			}
			heartbeat.Reset(heartbeatEvery)
		case err := <-broken:
			f.end(err)
			_ = f.flush() // the last word
			return
		case <-heartbeat.C:
			if f.heartbeat() != nil {
				return
			}
		case <-check.C:
			if err := allowed(ctx); err != nil {
				f.end(err)
				_ = f.flush() // the last word
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

type logLineOutput struct {
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
}

func (f *follower) write(up bulk.Up) {
	if up.Dropped > 0 {
		f.event("dropped", map[string]uint64{"lines": up.Dropped})
	}
	for _, line := range up.Lines {
		if line.Time.Equal(f.at.time) {
			if f.skip > 0 {
				f.skip--
				continue
			}
			f.at.count++
		} else {
			if f.skip > 0 && line.Time.Before(f.at.time) {
				continue
			}
			f.at, f.skip = place{time: line.Time, count: 1}, 0
		}
		f.id(f.at.String())
		f.event("", logLineOutput{Time: line.Time, Stream: line.Stream, Text: line.Text})
	}
	if up.End != nil {
		f.end(up.End.Err)
	}
}

// endOutput is the last event's data.
type endOutput struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// end writes the last event: why nothing more comes.
func (f *follower) end(err error) {
	f.event("end", toEnd(err))
}

const reasonInternal = "internal"

func toEnd(err error) endOutput {
	if err == nil || errors.Is(err, io.EOF) {
		return endOutput{Reason: "ended", Message: "the log ends here"}
	}
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind == apperr.Internal {
		return endOutput{Reason: reasonInternal, Message: "something went wrong on our side or the node's"}
	}
	if e.Reason != "" {
		return endOutput{Reason: e.Reason, Message: e.Message}
	}
	return endOutput{Reason: e.Kind.String(), Message: e.Message}
}
