package agentrpc_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// puppet is an agent whose every word is in the test's hands: a session, and a
// connection of its own for streams.
type puppet struct {
	t       *testing.T
	session agentv1.SessionService_SessionClient
	bulk    agentv1.BulkServiceClient
	asked   chan *agentv1.BulkRequest
	ended   chan error
}

// newPuppet connects an agent of the node; capabilities are what it announces.
func newPuppet(t *testing.T, s site, node string, capabilities ...string) *puppet {
	t.Helper()
	e := s.admin.Install(t, "acme", node)
	_, own, err := enrol(t, s.connect(t, e), e.Token)
	if err != nil {
		t.Fatal(err)
	}
	p := &puppet{t: t, asked: make(chan *agentv1.BulkRequest, 10), ended: make(chan error, 1)}
	p.bulk = agentv1.NewBulkServiceClient(s.connect(t, e, own))
	p.session, err = agentv1.NewSessionServiceClient(s.connect(t, e, own)).Session(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	err = p.session.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{
		ProtocolMin: 1, ProtocolMax: 1, BootId: node, Capabilities: capabilities,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.session.Recv()
	if err != nil || first.GetWelcome() == nil {
		t.Fatalf("got %v, %v; want a welcome", first, err)
	}
	over := make(chan struct{})
	go p.beat(over)
	go func() {
		defer close(over)
		for {
			m, err := p.session.Recv()
			if err != nil {
				p.ended <- err
				return
			}
			if r := m.GetBulkRequest(); r != nil {
				p.asked <- r
			}
		}
	}()
	return p
}

// beat says that the agent is there until its session is over: on a busy machine
// a test lasts longer than an agent may be silent.
func (p *puppet) beat(over <-chan struct{}) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = p.session.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{}}})
		case <-over:
			return
		}
	}
}

// request waits for what the controller asks for.
func (p *puppet) request() *agentv1.BulkRequest {
	p.t.Helper()
	select {
	case r := <-p.asked:
		return r
	case <-time.After(controllertest.Patience):
		p.t.Fatal("the agent was not asked for a stream")
		return nil
	}
}

// carry comes with a stream's id.
func (p *puppet) carry(id string) agentv1.BulkService_CarryClient {
	p.t.Helper()
	stream, err := p.bulk.Carry(context.WithoutCancel(p.t.Context()))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := stream.Send(&agentv1.BulkUp{Body: &agentv1.BulkUp_Open{Open: &agentv1.BulkOpen{StreamId: id}}}); err != nil {
		p.t.Fatal(err)
	}
	return stream
}

func lines(at time.Time, texts ...string) *agentv1.BulkUp {
	batch := &agentv1.LogBatch{}
	for _, text := range texts {
		batch.Lines = append(batch.Lines, &agentv1.LogLine{Time: timestamppb.New(at), Stream: "stdout", Text: text})
	}
	return &agentv1.BulkUp{Body: &agentv1.BulkUp_Logs{Logs: batch}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// following is a log that somebody reads.
func following(t *testing.T, s site, p *puppet, lastEventID string) (*controllertest.Events, *agentv1.BulkRequest, agentv1.BulkService_CarryClient) {
	t.Helper()
	opened := make(chan *controllertest.Events, 1)
	go func() { opened <- s.admin.Follow(s.nodePath()+"/shop/containers/web/log?take=7", lastEventID) }()
	request := p.request()
	carry := p.carry(request.GetStreamId())
	return <-opened, request, carry
}

func TestALogIsFollowedAndResumed(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk")
	events, request, carry := following(t, s, p, "")
	logs := request.GetLogs()
	if logs.GetPrefix() != "shop" || logs.GetName() != "web" || logs.GetTail() != 7 || !logs.GetFollow() || logs.GetSince() != nil {
		t.Errorf("the agent was asked for %v", logs)
	}
	if until := time.Until(request.GetDeadline().AsTime()); until <= 0 || until > 20*time.Second {
		t.Errorf("the agent has %s to come", until)
	}
	at := time.Unix(1_700_000_000, 123).UTC()
	must(t, carry.Send(lines(at, "one", "two\nwith a break \x1b[31m", "three")))
	seen := map[string]string{}
	for _, want := range []string{"one", "two\nwith a break \x1b[31m", "three"} {
		id, text := events.Line()
		if text != want {
			t.Errorf("got %q, want %q", text, want)
		}
		seen[want] = id
	}
	dropped := lines(at.Add(time.Second), "four")
	dropped.GetLogs().Dropped = 12
	must(t, carry.Send(dropped))
	if event, _ := events.Next(); event.Name != "dropped" || event.Data != `{"lines":12}` {
		t.Errorf("got %+v, want that 12 lines were dropped", event)
	}
	events.Line()
	// A reader who hangs up ends the agent's stream.
	events.Close()
	if _, err := carry.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the reader is gone and the agent's stream ends with %v", err)
	}

	// One who comes back sees what followed, and nothing twice.
	events, request, carry = following(t, s, p, seen["two\nwith a break \x1b[31m"])
	if since := request.GetLogs().GetSince().AsTime(); !since.Equal(at) || request.GetLogs().GetTail() < 1000 {
		t.Errorf("resuming asks for %v", request.GetLogs())
	}
	must(t, carry.Send(lines(at, "one", "two", "three")))
	must(t, carry.Send(lines(at.Add(time.Second), "four")))
	for _, want := range []string{"three", "four"} {
		id, text := events.Line()
		if text != want || want == "three" && id != seen["three"] {
			t.Errorf("resumed: %q with id %s, want %q with %s", text, id, want, seen["three"])
		}
	}
	must(t, carry.Send(&agentv1.BulkUp{Body: &agentv1.BulkUp_End{End: &agentv1.BulkEnd{}}}))
	if reason := events.End(); reason != "ended" {
		t.Errorf("it ended with %q", reason)
	}
}

func TestAStreamOfAnotherAgentIsRefusedAndAudited(t *testing.T) {
	s := newSite(t)
	second := s.admin.Post("/api/acme/nodes", map[string]any{"name": "two"}).Expect(t, http.StatusCreated).String(t, "id")
	honest, thief := newPuppet(t, s, s.node, "bulk"), newPuppet(t, s, second, "bulk")
	opened := make(chan *controllertest.Events, 1)
	go func() { opened <- s.admin.Follow(s.nodePath()+"/shop/containers/web/log", "") }()
	request := honest.request()
	stolen, invented := thief.carry(request.GetStreamId()), thief.carry("no-such-stream")
	_, err := stolen.Recv()
	_, inventedErr := invented.Recv()
	if status.Code(err) != codes.NotFound || err.Error() != inventedErr.Error() {
		t.Errorf("another's stream: %v; none: %v; want the same", err, inventedErr)
	}
	// The one that was asked still can.
	must(t, honest.carry(request.GetStreamId()).Send(lines(time.Now(), "mine")))
	if _, text := (<-opened).Line(); text != "mine" {
		t.Errorf("got %q", text)
	}
	log := s.admin.Get("/api/acme/audit-log?skip=0&take=50&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").Expect(t, http.StatusOK)
	if n := strings.Count(string(log.Body), "agent.stream-refused"); n != 1 {
		t.Errorf("%d entries in the audit log, want one for a minute's attempts: %s", n, log.Body)
	}
}

func TestStreamsEndWithTheirSession(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk")
	events, _, carry := following(t, s, p, "")
	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNoContent)
	if reason := events.End(); reason != "session-ended" {
		t.Errorf("the reader is told %q", reason)
	}
	if _, err := carry.Recv(); err == nil {
		t.Error("the agent's stream goes on")
	}
	if err := <-p.ended; refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("the session ended with %v", err)
	}
	// A revoked agent fetches nothing either.
	fetch, err := p.bulk.Fetch(t.Context(), &agentv1.FetchRequest{Digest: "sha256:00"})
	must(t, err)
	if _, err := fetch.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a revoked agent fetches: %v", err)
	}
}

func TestAnOldAgentIsNotAskedForStreams(t *testing.T) {
	s := newSite(t)
	newPuppet(t, s, s.node)
	problem := s.admin.Get(s.nodePath()+"/shop/containers/web/log?follow=true").Expect(t, http.StatusNotImplemented)
	if !strings.Contains(problem.String(t, "message"), "too old") {
		t.Errorf("got %s", problem.Body)
	}
}

// TestAStuckReaderStopsItsOwnStreamOnly has one reader that takes nothing and
// one that reads, over one connection of one agent.
func TestAStuckReaderStopsItsOwnStreamOnly(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk")
	_, _, stuck := following(t, s, p, "")
	const size = 32 << 10
	sent := make(chan int, 1<<16)
	go func() {
		defer close(sent)
		for stuck.Send(lines(time.Now(), strings.Repeat("x", size))) == nil {
			sent <- size
		}
	}()
	// The sockets of both ends hold some, the controller its budget, and then
	// the agent can send no more.
	const kernel = 16 << 20
	all, quiet := 0, 0
	for quiet < 20 {
		select {
		case n, more := <-sent:
			if !more {
				t.Fatalf("the stream ended after %d bytes", all)
			}
			all, quiet = all+n, 0
		case <-time.After(50 * time.Millisecond):
			quiet++
		}
		if all > kernel {
			t.Fatalf("a reader that takes nothing was sent %d bytes", all)
		}
	}
	events, _, carry := following(t, s, p, "")
	go func() {
		for n := range 1000 {
			if carry.Send(lines(time.Now(), fmt.Sprint(n), strings.Repeat("y", size))) != nil {
				return
			}
		}
	}()
	for n := range 1000 {
		if _, text := events.Line(); text != fmt.Sprint(n) {
			t.Fatalf("line %d is %.20q", n, text)
		}
		events.Line()
	}
}

func TestACommandIsRunInAContainer(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk", "exec")
	path := s.nodePath() + "/shop/containers/web/exec"
	terminal := s.admin.Exec(path, map[string]any{
		"command": []string{"sh", "-c", "cat"}, "stdin": true, "tty": true,
		"size": map[string]any{"columns": 80, "rows": 24}, "env": map[string]string{"A": "secret-value"},
	})
	request := p.request()
	asked := request.GetExec()
	if asked.GetName() != "web" || len(asked.GetCommand()) != 3 || !asked.GetTty() || !asked.GetStdin() ||
		asked.GetSize().GetColumns() != 80 || asked.GetEnvironment()["A"] != "secret-value" {
		t.Errorf("the agent was asked for %v", asked)
	}
	// Before the command is run it is in the audit log.
	const between = "?skip=0&take=50&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
	if log := s.admin.Get("/api/acme/audit-log"+between).Expect(t, http.StatusOK); !strings.Contains(string(log.Body), "container.exec") {
		t.Errorf("the agent is asked to run a command that is not in the audit log: %s", log.Body)
	}
	carry := p.carry(request.GetStreamId())
	big := strings.Repeat("z", 50<<10)
	terminal.Type(big)
	terminal.Say(map[string]any{"resize": map[string]any{"columns": 100, "rows": 50}})
	terminal.Say(map[string]any{"stdinClosed": true})
	got := ""
	for {
		down, err := carry.Recv()
		must(t, err)
		if size := down.GetResize(); size != nil && size.GetColumns() != 100 {
			t.Errorf("resized to %v", size)
		}
		if n := len(down.GetInput().GetData()); n > 32<<10 {
			t.Errorf("a piece of input has %d bytes", n)
		}
		got += string(down.GetInput().GetData())
		if down.GetInput().GetClosed() {
			break
		}
	}
	if got != big {
		t.Errorf("%d bytes of input arrived, want %d", len(got), len(big))
	}
	for _, out := range []*agentv1.ExecOutput{{Stream: "stdout", Data: []byte("out")}, {Stream: "stderr", Data: []byte("err")}} {
		must(t, carry.Send(&agentv1.BulkUp{Body: &agentv1.BulkUp_Output{Output: out}}))
	}
	code := int32(42)
	must(t, carry.Send(&agentv1.BulkUp{Body: &agentv1.BulkUp_End{End: &agentv1.BulkEnd{ExitCode: &code}}}))
	seen := terminal.ReadAll()
	if seen.Stdout != "out" || seen.Stderr != "err" || seen.Exit != 42 || seen.Code != websocket.StatusNormalClosure {
		t.Errorf("the terminal showed %+v", seen)
	}

	for path, event := range map[string]string{"/api/acme/audit-log": "container.exec", s.nodePath() + "/audit": "execContainer"} {
		log := s.admin.Get(path+between).Expect(t, http.StatusOK)
		if !strings.Contains(string(log.Body), event) || !strings.Contains(string(log.Body), "cat") {
			t.Errorf("the command is not in %s: %s", path, log.Body)
		}
		for _, secret := range []string{"secret-value", "zzz"} {
			if strings.Contains(string(log.Body), secret) {
				t.Errorf("%s holds %q", path, secret)
			}
		}
	}
}

func TestACommandThatCannotBeAuditedIsNotRun(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk", "exec")
	db, err := pgx.Connect(t.Context(), s.DSN)
	must(t, err)
	defer func() { _ = db.Close(t.Context()) }()
	_, err = db.Exec(t.Context(), `alter table audit_log add check (event <> 'container.exec')`)
	must(t, err)
	seen := s.admin.Exec(s.nodePath()+"/shop/containers/web/exec", map[string]any{"command": []string{"sh"}}).ReadAll()
	if seen.Exit != -1 || !strings.Contains(seen.Message, "audit log") || len(p.asked) > 0 {
		t.Errorf("the terminal showed %+v, and the agent was asked %d times", seen, len(p.asked))
	}
}

func TestTerminalsAreRefused(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk", "exec")
	path := s.nodePath() + "/shop/containers/web/exec"
	s.admin.Get(path).Expect(t, http.StatusUpgradeRequired)

	dial := func(origin string) int {
		t.Helper()
		//nolint:bodyclose // the library closes it
		conn, res, err := websocket.Dial(t.Context(), s.URL+path, &websocket.DialOptions{HTTPHeader: http.Header{
			"Authorization": {"Bearer " + s.admin.Token()}, "Origin": {origin},
		}})
		if err == nil {
			_ = conn.CloseNow()
		}
		if res == nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	for origin, want := range map[string]int{
		"https://evil.example": http.StatusForbidden, "null": http.StatusForbidden, s.URL: http.StatusSwitchingProtocols,
		s.URL + ".evil.example": http.StatusForbidden,
	} {
		if got := dial(origin); got != want {
			t.Errorf("a page of %s gets %d, want %d", origin, got, want)
		}
	}
	if seen := s.admin.Exec(path, map[string]any{"command": []string{}}).ReadAll(); seen.Reason != "invalid" || seen.Code != websocket.StatusPolicyViolation {
		t.Errorf("no command: %+v", seen)
	}

	// What the node says comes through.
	terminal := s.admin.Exec(path, map[string]any{"command": []string{"sh"}})
	carry := p.carry(p.request().GetStreamId())
	must(t, carry.Send(&agentv1.BulkUp{Body: &agentv1.BulkUp_End{End: &agentv1.BulkEnd{Error: "not made by this driver", ErrorKind: "forbidden"}}}))
	if seen := terminal.ReadAll(); seen.Reason != "forbidden" || seen.Exit != -1 {
		t.Errorf("a foreign container: %+v", seen)
	}

	// Who loses the right loses the terminal.
	admin := s.Register(t, "other.admin@example.com")
	s.join(t, "other.admin@example.com", "admin")
	terminal = admin.Exec(path, map[string]any{"command": []string{"sh"}})
	carry = p.carry(p.request().GetStreamId())
	s.join(t, "other.admin@example.com", "user")
	if seen := terminal.ReadAll(); seen.Reason != "forbidden" || seen.Code != websocket.StatusPolicyViolation {
		t.Errorf("a user who was an administrator: %+v", seen)
	}
	if _, err := carry.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the command's stream ends with %v", err)
	}
}

func TestArtifactsAreFetchedFromAnOffset(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk")
	content, err := os.ReadFile(filepath.Join(s.StateDir, "artifacts", "dagent-linux-amd64.tar"))
	must(t, err)
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	for offset := range len(content) + 1 {
		got, total, err := fetch(t, p, digest, uint64(offset))
		if err != nil || string(got) != string(content[offset:]) || total != uint64(len(content)) {
			t.Errorf("from %d: %q of %d, %v", offset, got, total, err)
		}
	}
	if _, _, err := fetch(t, p, digest, uint64(len(content)+1)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("past the end: %v", err)
	}
	if _, _, err := fetch(t, p, "sha256:../../etc/passwd", 0); status.Code(err) != codes.NotFound {
		t.Errorf("no artifact: %v", err)
	}
}

func fetch(t *testing.T, p *puppet, digest string, offset uint64) (content []byte, total uint64, err error) {
	t.Helper()
	stream, err := p.bulk.Fetch(t.Context(), &agentv1.FetchRequest{Digest: digest, Offset: offset})
	must(t, err)
	for {
		var chunk *agentv1.FetchChunk
		if chunk, err = stream.Recv(); errors.Is(err, io.EOF) {
			return content, total, nil
		} else if err != nil {
			return nil, 0, err
		}
		content, total = append(content, chunk.GetData()...), total+chunk.GetTotal()
	}
}

// join makes somebody a member of the team, or changes what one is.
func (s site) join(t *testing.T, email, role string) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), s.DSN)
	must(t, err)
	defer func() { _ = db.Close(t.Context()) }()
	_, err = db.Exec(t.Context(), `insert into team_members (team_id, user_id, role, joined_at)
		select t.id, u.id, $1, now() from users u, teams t where u.email = $2 and t.slug = 'acme'
		on conflict (team_id, user_id) do update set role = excluded.role`, role, email)
	must(t, err)
}

func TestALogOfAReleaseIsAskedFor(t *testing.T) {
	s := newSite(t)
	p := newPuppet(t, s, s.node, "bulk")
	opened := make(chan *controllertest.Events, 1)
	go func() { opened <- s.admin.Follow(s.nodePath()+"/shop/containers/web/log?release=3", "") }()
	request := p.request()
	p.carry(request.GetStreamId())
	(<-opened).Close()
	if logs := request.GetLogs(); logs.GetPrefix() != "shop" || logs.GetName() != "web.release-3" {
		t.Errorf("the agent was asked for %v", logs)
	}
	s.admin.Get(s.nodePath()+"/shop/containers/web/log?release=-1").Expect(t, http.StatusBadRequest)
}
