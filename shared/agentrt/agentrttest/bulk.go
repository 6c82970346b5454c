package agentrttest

import (
	"bytes"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

const (
	artifactChunk = 64 << 10
	carriesQueue  = 64
)

// Carry is one stream of the bulk connection, as the controller sees it.
type Carry struct {
	StreamID string
	AgentID  string

	stream grpc.BidiStreamingServer[agentv1.BulkUp, agentv1.BulkDown]
	end    chan error
}

// Carry serves a stream that the agent opened.
func (c *Controller) Carry(stream grpc.BidiStreamingServer[agentv1.BulkUp, agentv1.BulkDown]) error {
	id, _, err := caller(stream.Context())
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetOpen() == nil {
		return status.Error(codes.InvalidArgument, "not opened")
	}
	carry := &Carry{StreamID: first.GetOpen().GetStreamId(), AgentID: id, stream: stream, end: make(chan error, 1)}
	c.carries <- carry
	select {
	case err := <-carry.end:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

// AcceptCarry waits for the next stream of the bulk connection.
func (c *Controller) AcceptCarry(t testing.TB) *Carry {
	t.Helper()
	select {
	case carry := <-c.carries:
		return carry
	case <-time.After(Patience):
		t.Fatal("no agent opened a stream")
		return nil
	}
}

// Recv returns the agent's next message on the stream; io.EOF when it said all.
// One goroutine at a time may call it.
func (c *Carry) Recv() (*agentv1.BulkUp, error) { return c.stream.Recv() }

// Send sends the agent a message; it blocks while the agent does not read. One
// goroutine at a time may call it.
func (c *Carry) Send(m *agentv1.BulkDown) error { return c.stream.Send(m) }

// AwaitEnd reads until the agent ended the stream by its own will, and returns
// all it said.
func (c *Carry) AwaitEnd(t testing.TB) (said []*agentv1.BulkUp, end *agentv1.BulkEnd) {
	t.Helper()
	late := time.AfterFunc(Patience, func() { c.End(status.Error(codes.DeadlineExceeded, "the stream does not end")) })
	defer late.Stop()
	for {
		m, err := c.Recv()
		if err != nil {
			t.Fatalf("the stream broke before its end: %v; said %v", err, said)
		}
		said = append(said, m)
		if m.GetEnd() != nil {
			return said, m.GetEnd()
		}
	}
}

// End ends the stream with the status; nil ends it without one.
func (c *Carry) End(err error) {
	select {
	case c.end <- err:
	default: // ended already
	}
}

// ServeArtifact lets agents fetch content by its digest.
func (c *Controller) ServeArtifact(digest string, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.artifacts[digest] = content
}

// Fetch serves what ServeArtifact was given.
func (c *Controller) Fetch(ask *agentv1.FetchRequest, stream grpc.ServerStreamingServer[agentv1.FetchChunk]) error {
	if _, _, err := caller(stream.Context()); err != nil {
		return err
	}
	c.mu.Lock()
	content, ok := c.artifacts[ask.GetDigest()]
	c.mu.Unlock()
	if !ok || ask.GetOffset() > uint64(len(content)) {
		return status.Error(codes.NotFound, "no such artifact")
	}
	total := uint64(len(content))
	rest := bytes.NewReader(content[ask.GetOffset():])
	for {
		chunk := make([]byte, artifactChunk)
		n, err := rest.Read(chunk)
		if err == io.EOF && total == 0 {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		if err := stream.Send(&agentv1.FetchChunk{Data: chunk[:n], Total: total}); err != nil {
			return err
		}
		total = 0
	}
}
