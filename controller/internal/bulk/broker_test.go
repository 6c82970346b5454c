package bulk_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// world is a broker with agents whose asks the test takes.
type world struct {
	*bulk.Broker
	mu      sync.Mutex
	misuses []bulk.Misuse
}

func newWorld(limits bulk.Limits) *world {
	w := &world{}
	w.Broker = bulk.NewBroker(bulk.Config{
		Limits: limits, Replica: "one", Now: time.Now,
		Misused: func(_ context.Context, m bulk.Misuse) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.misuses = append(w.misuses, m)
		},
	})
	return w
}

func (w *world) misused() []bulk.Misuse {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.misuses
}

// station is an agent's session.
type station struct {
	bulk.Session
	*bulk.Link
	asks chan bulk.Ask
}

func (w *world) attach(id uuid.UUID, epoch int64) *station {
	s := &station{asks: make(chan bulk.Ask, 100)}
	s.Session = bulk.Session{
		AgentID: id, NodeID: uuid.New(), Epoch: epoch, Capable: true, ExecCapable: true,
		Ask: func(a bulk.Ask) error { s.asks <- a; return nil },
	}
	s.Link = w.Attach(s.Session)
	return s
}

func follow() bulk.Request {
	return bulk.Request{Container: workload.ContainerID{Prefix: "shop", Name: "web"}, Logs: &bulk.Logs{Follow: true}}
}

// open opens a stream whose agent comes at once.
func (w *world) open(t *testing.T, s *station) (bulk.Stream, *bulk.Carrier) {
	t.Helper()
	joined := make(chan *bulk.Carrier, 1)
	go func() {
		carrier, err := w.Join(t.Context(), s.AgentID, (<-s.asks).StreamID)
		if err != nil {
			t.Error(err)
		}
		joined <- carrier
	}()
	stream, err := w.Open(t.Context(), s.AgentID, s.Epoch, follow())
	if err != nil {
		t.Fatal(err)
	}
	return stream, <-joined
}

func text(n int) bulk.Up {
	return bulk.Up{Lines: []workload.LogLine{{Stream: "stdout", Text: strings.Repeat("x", n)}}}
}

// TestAnAgentThatIsDoneBeforeTheReaderLooks has an agent answer within the ask:
// a command that cannot be started takes no longer than that.
func TestAnAgentThatIsDoneBeforeTheReaderLooks(t *testing.T) {
	for range 32 { // which of two things that are ready is seen first is chance
		w := newWorld(bulk.DefaultLimits())
		id := uuid.New()
		w.Attach(bulk.Session{
			AgentID: id, NodeID: uuid.New(), Epoch: 1, Capable: true,
			Ask: func(a bulk.Ask) error {
				carrier, err := w.Join(t.Context(), id, a.StreamID)
				if err != nil {
					return err
				}
				defer carrier.Left()
				return carrier.Deliver(t.Context(), bulk.Up{End: &bulk.End{Err: apperr.New(apperr.Invalid, "no such program")}})
			},
		})
		stream, err := w.Open(t.Context(), id, 1, follow())
		if err != nil {
			t.Fatalf("opening: %v", err)
		}
		if up, err := stream.Recv(); err != nil || up.End == nil || !apperr.Is(up.End.Err, apperr.Invalid) {
			t.Fatalf("the end: %+v, %v", up, err)
		}
		stream.Close(nil)
	}
}

func TestPartsGoBothWaysInOrderUntilTheEnd(t *testing.T) {
	w := newWorld(bulk.DefaultLimits())
	stream, carrier := w.open(t, w.attach(uuid.New(), 1))
	code := 3
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for n := range 100 {
			_ = carrier.Deliver(t.Context(), text(n))
		}
		_ = carrier.Deliver(t.Context(), bulk.Up{End: &bulk.End{ExitCode: &code}})
		carrier.Left()
	})
	for n := range 100 {
		up, err := stream.Recv()
		if err != nil || len(up.Lines) != 1 || len(up.Lines[0].Text) != n {
			t.Fatalf("part %d: %+v, %v", n, up, err)
		}
	}
	up, err := stream.Recv()
	if err != nil || up.End == nil || *up.End.ExitCode != 3 {
		t.Fatalf("the end: %+v, %v", up, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want EOF", err)
	}
	carrying.Wait() // it leaves after its last word

	stream, carrier = w.open(t, w.attach(uuid.New(), 1))
	go func() { _ = stream.Send(bulk.Down{Input: []byte("hello")}) }()
	if d, err := carrier.Next(t.Context()); err != nil || string(d.Input) != "hello" {
		t.Errorf("down: %+v, %v", d, err)
	}
	stream.Close(nil)
	<-carrier.Done()
	if err := carrier.Deliver(t.Context(), text(1)); err == nil {
		t.Error("a part was taken for a reader who has left")
	}
	if n := w.Count(); n != 0 {
		t.Errorf("%d streams are still known", n)
	}
}

func TestOnlyTheAgentThatWasAskedMayCome(t *testing.T) {
	w := newWorld(bulk.DefaultLimits())
	asked, other := w.attach(uuid.New(), 1), w.attach(uuid.New(), 1)
	done := make(chan error, 1)
	go func() {
		_, err := w.Open(t.Context(), asked.AgentID, 1, follow())
		done <- err
	}()
	id := (<-asked.asks).StreamID

	_, foreign := w.Join(t.Context(), other.AgentID, id)
	_, unknown := w.Join(t.Context(), other.AgentID, "nothing")
	if !apperr.Is(foreign, apperr.NotFound) || unknown == nil || foreign.Error() != unknown.Error() {
		t.Errorf("another's stream answers %v, none %v: want the same", foreign, unknown)
	}
	want := []bulk.Misuse{{AgentID: other.AgentID, Foreign: true}, {AgentID: other.AgentID}}
	if got := w.misused(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("misuses %+v, want %+v", got, want)
	}

	carrier, err := w.Join(t.Context(), asked.AgentID, id)
	if err != nil || <-done != nil {
		t.Fatal(err)
	}
	if _, err := w.Join(t.Context(), asked.AgentID, id); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("a second carrier: %v", err)
	}
	// Whoever comes late was asked for it all the same.
	carrier.Left()
	if _, err := w.Join(t.Context(), asked.AgentID, id); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("too late: %v", err)
	}
	if len(w.misused()) != 2 {
		t.Errorf("coming late was noted as misuse: %+v", w.misused())
	}
}

func TestAnAgentThatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	limits := bulk.DefaultLimits()
	limits.Patience = 20 * time.Millisecond
	w := newWorld(limits)
	s := w.attach(uuid.New(), 1)
	_, err := w.Open(t.Context(), s.AgentID, 1, follow())
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != apperr.Unavailable || e.Reason != bulk.ReasonNoCarrier {
		t.Errorf("got %v", err)
	}
	if _, err := w.Join(t.Context(), s.AgentID, (<-s.asks).StreamID); err == nil {
		t.Error("it was let in afterwards")
	}
	if w.Count() != 0 {
		t.Error("the stream is still known")
	}
}

func TestAStreamEndsWithItsSessionItsReaderAndTheController(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(w *world, s *station, stream bulk.Stream, stop context.CancelFunc)
		reason string
	}{
		"session":    {func(_ *world, s *station, _ bulk.Stream, _ context.CancelFunc) { s.Close(errors.New("revoked")) }, bulk.ReasonSessionEnded},
		"controller": {func(w *world, _ *station, _ bulk.Stream, _ context.CancelFunc) { w.Interrupt(stopping()) }, bulk.ReasonStopping},
		"reader":     {func(_ *world, _ *station, stream bulk.Stream, _ context.CancelFunc) { stream.Close(nil) }, ""},
		"context":    {func(_ *world, _ *station, _ bulk.Stream, stop context.CancelFunc) { stop() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(bulk.DefaultLimits())
			s := w.attach(uuid.New(), 1)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			joined := make(chan *bulk.Carrier, 1)
			go func() {
				carrier, _ := w.Join(ctx, s.AgentID, (<-s.asks).StreamID)
				joined <- carrier
			}()
			stream, err := w.Open(ctx, s.AgentID, 1, follow())
			if err != nil {
				t.Fatal(err)
			}
			carrier := <-joined
			c.end(w, s, stream, stop)
			<-carrier.Done()
			_, err = stream.Recv()
			var e *apperr.Error
			if c.reason != "" && (!errors.As(err, &e) || e.Reason != c.reason) {
				t.Errorf("the reader is told %v, want reason %q", err, c.reason)
			}
			if err == nil || w.Count() != 0 {
				t.Errorf("after the end: %v, %d streams", err, w.Count())
			}
		})
	}
}

func stopping() error {
	return apperr.New(apperr.Unavailable, "stopping").WithReason(bulk.ReasonStopping)
}

func TestAskingIsRefused(t *testing.T) {
	w := newWorld(bulk.DefaultLimits())
	s := w.attach(uuid.New(), 7)
	old := w.Attach(bulk.Session{AgentID: uuid.New(), Epoch: 1})
	defer old.Close(nil)
	plain := w.Attach(bulk.Session{AgentID: uuid.UUID{1}, Epoch: 1, Capable: true})
	defer plain.Close(nil)
	command := bulk.Request{Exec: &bulk.Exec{Command: []string{"sh"}}}
	for name, c := range map[string]struct {
		agent   uuid.UUID
		epoch   int64
		request bulk.Request
		want    apperr.Kind
	}{
		"nobody of that name":        {uuid.New(), 1, follow(), apperr.Precondition},
		"an older session":           {s.AgentID, 6, follow(), apperr.Precondition},
		"a newer session":            {s.AgentID, 8, follow(), apperr.Precondition},
		"an agent that can run none": {uuid.UUID{1}, 1, command, apperr.Unsupported},
	} {
		if _, err := w.Open(t.Context(), c.agent, c.epoch, c.request); !apperr.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// deliver delivers until there is no room, in a test that has a bubble; it
// returns how many bytes of text were taken.
func deliver(t *testing.T, carrier *bulk.Carrier, part int) int {
	t.Helper()
	taken := make(chan int, 1000)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for carrier.Deliver(ctx, text(part)) == nil {
			taken <- part
		}
	}()
	synctest.Wait() // nothing is taken any more: the next one waits
	stop()
	<-ended
	close(taken)
	all := 0
	for n := range taken {
		all += n
	}
	return all
}

func TestWhatWaitsForStuckReadersIsBounded(t *testing.T) {
	synctest.Test(t, boundedForStuckReaders)
}

func boundedForStuckReaders(t *testing.T) {
	limits := bulk.DefaultLimits()
	w := newWorld(limits)
	s := w.attach(uuid.New(), 1)
	first, carrier := w.open(t, s)
	if held := deliver(t, carrier, 60<<10); held > limits.StreamBytes || held < limits.StreamBytes/2 {
		t.Errorf("one stuck stream holds %d bytes, want up to %d", held, limits.StreamBytes)
	}
	all := 0
	carriers := []*bulk.Carrier{carrier}
	for range limits.PerAgent - 1 {
		_, c := w.open(t, s)
		all += deliver(t, c, 60<<10)
		carriers = append(carriers, c)
	}
	if all+1<<20 > limits.AgentBytes {
		t.Errorf("%d stuck streams of one agent hold %d bytes, want at most %d", limits.PerAgent, all, limits.AgentBytes)
	}
	if _, err := w.Open(t.Context(), s.AgentID, 1, follow()); !apperr.Is(err, apperr.TooMany) {
		t.Errorf("one more stream: %v, want too many", err)
	}
	// The stuck ones stop nobody: each stream goes on as its own reader does,
	// and the readers of other agents' have all they need.
	read := make(chan error, 1)
	go func() {
		for range 100 {
			if _, err := first.Recv(); err != nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	for range 100 {
		if err := carrier.Deliver(t.Context(), text(60<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	_, elsewhere := w.open(t, w.attach(uuid.New(), 1))
	if held := deliver(t, elsewhere, 60<<10); held < limits.StreamBytes/2 {
		t.Errorf("another agent's stream may hold %d bytes only", held)
	}
	s.Close(nil)
	for _, c := range carriers {
		<-c.Done()
	}
}

func TestLongPartsAreCutAndNothingOfThemIsLost(t *testing.T) {
	w := newWorld(bulk.DefaultLimits())
	stream, carrier := w.open(t, w.attach(uuid.New(), 1))
	big := bulk.Up{Dropped: 9}
	for range 5000 {
		big.Lines = append(big.Lines, workload.LogLine{Text: "a line of fair length"})
	}
	code := 0
	go func() {
		_ = carrier.Deliver(t.Context(), big)
		_ = carrier.Deliver(t.Context(), bulk.Up{Stream: "stdout", Data: make([]byte, 300<<10)})
		_ = carrier.Deliver(t.Context(), bulk.Up{End: &bulk.End{ExitCode: &code}})
	}()
	lines, data, dropped, parts := 0, 0, uint64(0), 0
	for {
		up, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		lines, data, dropped, parts = lines+len(up.Lines), data+len(up.Data), dropped+up.Dropped, parts+1
		if up.End != nil {
			break
		}
	}
	if lines != 5000 || data != 300<<10 || dropped != 9 || parts < 10 {
		t.Errorf("%d lines, %d bytes, %d dropped, in %d parts", lines, data, dropped, parts)
	}
}
