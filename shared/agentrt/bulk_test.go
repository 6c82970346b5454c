package agentrt_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/workload/workloadtest"
)

func followWeb(id string, tail int32) *agentv1.BulkRequest {
	return &agentv1.BulkRequest{StreamId: id, What: &agentv1.BulkRequest_Logs{
		Logs: &agentv1.FollowLogs{Prefix: "shop", Name: "web", Tail: tail, Follow: true},
	}}
}

func execWeb(id string, command ...string) *agentv1.BulkRequest {
	return &agentv1.BulkRequest{StreamId: id, What: &agentv1.BulkRequest_Exec{Exec: &agentv1.Exec{
		Prefix: "shop", Name: "web", Stdin: true, Command: append([]string{workloadtest.FakeProgram}, command...),
	}}}
}

// serving returns a node on which a shop runs.
func serving(t *testing.T) (*agentrttest.Controller, *agentrttest.Session, *workloadtest.FakeDriver) {
	t.Helper()
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	c, _, _, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
	return c, s, driver
}

// lines reads a stream until it has so many lines.
func lines(t *testing.T, carry *agentrttest.Carry, n int) (texts []string, dropped uint64) {
	t.Helper()
	late := time.AfterFunc(agentrttest.Patience, func() { carry.End(errors.New("too late")) })
	defer late.Stop()
	for len(texts) < n {
		m, err := carry.Recv()
		if err != nil {
			t.Fatalf("after %d of %d lines: %v", len(texts), n, err)
		}
		if end := m.GetEnd(); end != nil {
			t.Fatalf("after %d of %d lines: %v", len(texts), n, end)
		}
		dropped += m.GetLogs().GetDropped()
		for _, l := range m.GetLogs().GetLines() {
			texts = append(texts, l.GetText())
		}
	}
	return texts, dropped
}

func TestLogsAreFollowedOverTheSecondConnection(t *testing.T) {
	c, s, driver := serving(t)
	s.Bulk(t, followWeb("s1", 2))
	carry := c.AcceptCarry(t)
	if carry.StreamID != "s1" || carry.AgentID != s.AgentID {
		t.Fatalf("stream %s of agent %s", carry.StreamID, carry.AgentID)
	}
	if got, dropped := lines(t, carry, 2); strings.Join(got, "|") != "hello |ready" || dropped != 0 {
		t.Fatalf("lines %q, %d dropped", got, dropped)
	}
	driver.Crash("shop-web", 1) // the next start writes again
	if got, _ := lines(t, carry, 3); got[0] != "warming up" {
		t.Fatalf("lines %q", got)
	}
	driver.Exit("shop-web", 0)
	if _, end := carry.AwaitEnd(t); end.GetError() != "" {
		t.Fatalf("end %v", end)
	}
}

func TestAStreamThatMustNotBeginSaysWhy(t *testing.T) {
	c, s, _ := serving(t)
	expired := followWeb("expired", 1)
	expired.Deadline = timestamppb.New(time.Now().Add(-time.Second))
	another := followWeb("another", 1)
	another.Precondition = &agentv1.Precondition{EngineId: "gone"}
	later := execWeb("later", "echo")
	later.Precondition = &agentv1.Precondition{Generation: 7}
	missing := execWeb("missing", "echo")
	missing.GetExec().Name = "none"
	for kind, r := range map[string]*agentv1.BulkRequest{
		"precondition (expired)":   expired,
		"precondition (replaced)":  another,
		"precondition (other set)": later,
		"not-found":                missing,
		"invalid":                  {StreamId: "no such program", What: &agentv1.BulkRequest_Exec{Exec: &agentv1.Exec{Prefix: "shop", Name: "web", Command: []string{"/none"}}}},
		"unsupported":              {StreamId: "of a newer controller"},
	} {
		s.Bulk(t, r)
		carry := c.AcceptCarry(t)
		want, _, _ := strings.Cut(kind, " ")
		if said, end := carry.AwaitEnd(t); len(said) != 1 || end.GetErrorKind() != want || end.GetError() == "" || end.ExitCode != nil {
			t.Errorf("%s: %v", kind, said)
		}
		carry.End(nil)
	}
}

func TestMoreStreamsThanAllowedAreRefused(t *testing.T) {
	c, s, _ := serving(t)
	const most = 16
	var open []*agentrttest.Carry
	for i := range most {
		s.Bulk(t, followWeb(fmt.Sprint(i), 1))
		carry := c.AcceptCarry(t)
		lines(t, carry, 1)
		open = append(open, carry)
	}
	s.Bulk(t, followWeb("one more", 1))
	carry := c.AcceptCarry(t)
	if _, end := carry.AwaitEnd(t); end.GetErrorKind() != "too-many" || !strings.Contains(end.GetError(), "16") {
		t.Fatalf("end %v", end)
	}
	carry.End(nil)
	open[0].End(nil) // makes room, once the agent has heard of it
	for {
		s.Bulk(t, followWeb("another", 1))
		carry = c.AcceptCarry(t)
		m, err := carry.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetLogs() != nil {
			return
		}
		carry.End(nil)
	}
}

func TestCommandsRunInContainersWithInputAndOutput(t *testing.T) {
	c, s, _ := serving(t)
	s.Bulk(t, execWeb("s1", "echo"))
	carry := c.AcceptCarry(t)
	const text = "over the second connection "
	go func() {
		for range 100 {
			_ = carry.Send(&agentv1.BulkDown{Body: &agentv1.BulkDown_Input{Input: &agentv1.ExecInput{Data: []byte(strings.Repeat(text, 1000))}}})
		}
		_ = carry.Send(&agentv1.BulkDown{Body: &agentv1.BulkDown_Input{Input: &agentv1.ExecInput{Closed: true}}})
	}()
	said, end := carry.AwaitEnd(t)
	output := map[string]*strings.Builder{"stdout": {}, "stderr": {}}
	for _, m := range said[:len(said)-1] {
		if len(m.GetOutput().GetData()) > 32<<10 {
			t.Errorf("a piece of %d bytes", len(m.GetOutput().GetData()))
		}
		output[m.GetOutput().GetStream()].Write(m.GetOutput().GetData())
	}
	if output["stdout"].String() != strings.Repeat(text, 100_000) || output["stderr"].String() != "done\n" {
		t.Errorf("%d bytes came back, and %q", output["stdout"].Len(), output["stderr"])
	}
	if end.GetError() != "" || end.ExitCode == nil || end.GetExitCode() != 7 {
		t.Errorf("end %v", end)
	}
}

func TestATerminalIsResized(t *testing.T) {
	c, s, _ := serving(t)
	r := execWeb("s1", "size")
	r.GetExec().Tty, r.GetExec().Size = true, &agentv1.TerminalSize{Columns: 80, Rows: 25}
	s.Bulk(t, r)
	carry := c.AcceptCarry(t)
	for _, want := range []string{"80x25\r\n", "100x30\r\n"} {
		m, err := carry.Recv()
		if err != nil || string(m.GetOutput().GetData()) != want {
			t.Fatalf("%v, %v, want %q", m, err, want)
		}
		if err := carry.Send(&agentv1.BulkDown{Body: &agentv1.BulkDown_Resize{Resize: &agentv1.TerminalSize{Columns: 100, Rows: 30}}}); err != nil {
			t.Fatal(err)
		}
	}
	carry.End(nil)
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A flood of logs and of output, with readers that do not read, stands before
// nothing, and takes no more memory than it may.
func TestAFloodWithStuckReadersHoldsNothingUp(t *testing.T) {
	c, s, driver := serving(t)
	driver.Flood("shop-web", strings.Repeat("flood ", 200))
	before := heap()
	var stuck []*agentrttest.Carry
	for i := range 8 {
		s.Bulk(t, followWeb(fmt.Sprint("logs", i), 0))
		stuck = append(stuck, c.AcceptCarry(t))
	}
	for i := range 4 {
		s.Bulk(t, execWeb(fmt.Sprint("exec", i), "flood"))
		c.AcceptCarry(t) // and its input, which nobody reads either, is of no use
	}
	for generation := uint64(2); generation < 7; generation++ {
		s.Assign(t, set(generation, deployment("shop", 1), deployment("blog", generation)))
		if ack := s.AwaitAck(t); ack.GetDetail() != "" {
			t.Fatalf("ack %v", ack)
		}
		s.AwaitPhase(t, "id-blog", generation, agentv1.Phase_PHASE_SUCCESSFUL)
		s.Ping(t, generation)
	}
	if r := s.Command(t, stopWeb("other")); r.GetError() != "" {
		t.Errorf("result %v", r)
	}
	const most = 8<<20 + 8<<20 // the lines that may wait, and what is under way at both ends
	if after := heap(); after > before+most {
		t.Errorf("%d MiB more are in use than before the flood", (after-before)>>20)
	}
	// The command stopped the container: every log ends, and tells what is missing.
	said, end := stuck[0].AwaitEnd(t)
	var dropped uint64
	for _, m := range said {
		dropped += m.GetLogs().GetDropped()
	}
	if end.GetError() != "" || dropped == 0 {
		t.Errorf("end %v, %d lines dropped", end, dropped)
	}
}

func TestStuckReadersDoNotStarveOneThatReads(t *testing.T) {
	c, s, driver := serving(t)
	driver.Flood("shop-web", strings.Repeat("flood ", 200))
	for i := range 15 {
		s.Bulk(t, followWeb(fmt.Sprint("stuck", i), 0))
		c.AcceptCarry(t)
	}
	s.Bulk(t, followWeb("reads", 0))
	reads := c.AcceptCarry(t)
	lines(t, reads, 2000)
	reads.End(nil)
}

func TestStreamsEndWithTheAgentsIdentity(t *testing.T) {
	c, _, p, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
	s.Bulk(t, followWeb("s1", 1))
	carry := c.AcceptCarry(t)
	lines(t, carry, 1)
	s.End(agentrttest.Refuse(7, agentv1.RefusalReason_REFUSAL_REASON_REVOKED, 0))
	if err := p.wait(); err == nil {
		t.Fatal("the agent goes on")
	}
	late := time.AfterFunc(agentrttest.Patience, c.Cut)
	defer late.Stop()
	if m, err := carry.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("the stream goes on: %v, %v", m, err)
	}
}
