package system_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
)

// readerOfLog reads a container's log in pieces, each on a stream of its own
// behind the last event of the one before.
type readerOfLog struct {
	path string
	at   string
	seen []string
}

var marked = regexp.MustCompile(`followed-(\d+).*number=(\d+)`)

// read takes marked lines until it has seen that many of them in all, or the
// stream has ended.
func (r *readerOfLog) read(t *testing.T, events *client.Events, enough int) (ended bool) {
	t.Helper()
	for len(r.seen) < enough {
		event, err := events.Next()
		switch {
		case err != nil:
			t.Fatalf("the stream broke off without a last event: %v", err)
		case event.Name == "end":
			return true
		case event.Name != "": // nothing here comes faster than it is read
			t.Fatalf("the event %+v came", event)
		}
		r.at = event.ID
		if line := marked.FindStringSubmatch(event.Data); line != nil {
			r.seen = append(r.seen, line[1]+"."+line[2])
		}
	}
	return false
}

// mustFollowTheLog reads a log that is being written, over streams that are cut
// off again and again, by their reader and by the agent's end: together they
// have every line, once and in order.
func (d *deployed) mustFollowTheLog(t *testing.T) {
	t.Helper()
	// A line that never comes ends the test, too.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const parts, lines, cut = 12, 40, 23
	var want []string
	for part := range parts {
		for line := range lines {
			want = append(want, fmt.Sprintf("%d.%d", part, line+1))
		}
	}
	app := client.New(fmt.Sprintf("http://127.0.0.1:%d", d.port))
	write := func(from, to int) error {
		for part := from; part < to; part++ {
			path := fmt.Sprintf("/control/log?line=followed-%d&count=%d", part, lines)
			if err := app.Call(t.Context(), http.MethodPost, path, nil, nil); err != nil {
				return err
			}
		}
		return nil
	}
	r := readerOfLog{path: fmt.Sprintf("/api/%s/nodes/%s/%s/containers/web/log?take=1000", d.Slug, d.node.id, d.prefix)}
	follow := func() *client.Events {
		t.Helper()
		events, err := d.Follow(ctx, r.path, r.at)
		must(t, err)
		t.Cleanup(events.Close)
		return events
	}

	written := make(chan error, 1)
	go func() { written <- write(0, parts/2) }()
	for half := len(want) / 2; len(r.seen) < half; {
		events := follow()
		if r.read(t, events, min(len(r.seen)+cut, half)) {
			t.Fatal("the log ended while its container runs")
		}
		events.Close()
	}
	must(t, <-written)

	// The agent goes while the log is read, and more is written while it is away.
	events := follow()
	must(t, write(parts/2, parts/2+1))
	docker(t, "stop", d.agentName())
	if !r.read(t, events, len(want)) {
		t.Error("the stream outlived its agent")
	}
	must(t, write(parts/2+1, parts))
	docker(t, "start", d.agentName())
	d.awaitConnected(t)
	r.read(t, follow(), len(want))
	if !slices.Equal(r.seen, want) {
		t.Errorf("the lines read are\n%s\nwant\n%s", strings.Join(r.seen, " "), strings.Join(want, " "))
	}
}
