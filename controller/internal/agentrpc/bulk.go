package agentrpc

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/bulkpb"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/protocol"
)

const (
	// openTimeout is how long a new stream for bulk may stay silent.
	openTimeout = 10 * time.Second
	// chunkBytes of an artifact go into one message.
	chunkBytes = 64 << 10
	// checkEvery is how often a long fetch is asked whether it may go on.
	checkEvery = 16 << 20
)

// Streams takes what agents carry.
type Streams interface {
	// Join makes an agent, who it is being proven, the carrier of a stream.
	Join(ctx context.Context, agentID uuid.UUID, streamID string) (bulk.Bearer, error)
}

// Library holds the artifacts that agents fetch.
type Library interface {
	// Content opens the artifact of a digest ("sha256:" and hex) for reading;
	// NotFound when there is none.
	Content(digest string) (content io.ReadSeekCloser, size int64, err error)
}

// Carry takes one stream that the agent was asked for.
func (s *Server) Carry(stream grpc.BidiStreamingServer[agentv1.BulkUp, agentv1.BulkDown]) error {
	ctx := stream.Context()
	agentID, _, err := identity(ctx)
	if err != nil {
		return err
	}
	id, err := receiveOpen(stream)
	if err != nil {
		return err
	}
	bearer, err := s.Streams.Join(ctx, agentID, id)
	if err != nil {
		s.log.Info("refused a stream", "agent", agentID, "address", peerAddress(ctx), logging.KeyError, err)
		return err
	}
	return bulk.Bear(ctx, bearer,
		func() (bulk.Up, error) {
			m, err := stream.Recv()
			if err != nil {
				return bulk.Up{}, err
			}
			return bulkpb.UpFrom(m)
		},
		func(d bulk.Down) error { return stream.Send(bulkpb.Down(d)) },
	)
}

// receiveOpen takes the first message, which must come soon.
func receiveOpen(stream grpc.BidiStreamingServer[agentv1.BulkUp, agentv1.BulkDown]) (string, error) {
	type first struct {
		message *agentv1.BulkUp
		err     error
	}
	received := make(chan first, 1)
	go func() { // ends with the stream, which ends when the handler returns
		m, err := stream.Recv()
		received <- first{m, err}
	}()
	timeout := time.NewTimer(openTimeout)
	defer timeout.Stop()
	select {
	case f := <-received:
		if f.err != nil {
			return "", f.err
		}
		id := f.message.GetOpen().GetStreamId()
		if id == "" || len(id) > maxInfoBytes {
			return "", apperr.New(apperr.Invalid, "the first message must name the stream")
		}
		return id, nil
	case <-timeout.C:
		return "", apperr.New(apperr.Invalid, "no first message within %s", openTimeout)
	}
}

// Fetch sends an artifact from an offset to its end.
func (s *Server) Fetch(req *agentv1.FetchRequest, stream grpc.ServerStreamingServer[agentv1.FetchChunk]) error {
	ctx := stream.Context()
	agentID, _, err := identity(ctx)
	if err != nil {
		return err
	}
	if err := s.Agents.Good(ctx, agentID); err != nil {
		return err
	}
	content, size, err := s.Library.Content(req.GetDigest())
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // only read from
	if req.GetOffset() > uint64(size) {
		return apperr.InvalidField("offset", req.GetOffset(), "the artifact has %d bytes", size)
	}
	if _, err := content.Seek(int64(req.GetOffset()), io.SeekStart); err != nil {
		return err
	}
	chunk := &agentv1.FetchChunk{Total: uint64(size)}
	buffer := make([]byte, chunkBytes)
	for sent := 0; ; {
		n, err := io.ReadFull(content, buffer)
		if n > 0 || sent == 0 {
			chunk.Data = buffer[:n]
			if err := stream.Send(chunk); err != nil {
				return err
			}
			chunk.Total = 0
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
		if sent += n; sent%checkEvery < chunkBytes {
			if err := s.Agents.Good(ctx, agentID); err != nil && !apperr.Is(err, apperr.Unavailable) {
				return err
			}
		}
	}
}

// attach makes a session one whose agent can be asked for streams.
func (s *Server) attach(x *session, capabilities []string) *bulk.Link {
	has := func(name string) bool {
		for _, c := range capabilities {
			if c == name {
				return true
			}
		}
		return false
	}
	return s.Broker.Attach(bulk.Session{
		AgentID: x.AgentID, NodeID: x.NodeID, Epoch: x.Epoch,
		Capable: has(protocol.Bulk), ExecCapable: has(protocol.Exec),
		Ask: func(a bulk.Ask) error {
			return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_BulkRequest{BulkRequest: bulkpb.Ask(a)}})
		},
	})
}
