package agentrpc

import (
	"context"
	"log/slog"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// call is an open call that can be ended from outside of its handler: whatever
// the handler receives or sends fails from then on. The handler may be waiting
// in a receive, which gRPC offers no way to interrupt but ending the stream.
type call struct {
	stream statusWriter
	conn   *conn
	log    *slog.Logger
	why    atomic.Pointer[error]
}

// statusWriter is how gRPC's transport ends a stream with a status. It is
// gRPC's own and not promised to stay; without it, the connection is closed,
// and the agent is not told why.
type statusWriter interface {
	WriteStatus(st *status.Status) error
}

func (s *Server) newCall(ctx context.Context) *call {
	c := &call{conn: connOf(ctx), log: s.log}
	c.stream, _ = grpc.ServerTransportStreamFromContext(ctx).(statusWriter)
	return c
}

// end ends the call; the agent is told why. It does not wait, and only the
// first reason counts.
func (c *call) end(why error) {
	if !c.why.CompareAndSwap(nil, &why) {
		return
	}
	if c.stream != nil && c.stream.WriteStatus(status.Convert(toStatus(c.log, why))) == nil {
		return
	}
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// ended returns why the call was ended, or the error with which it ended by
// itself.
func (c *call) ended(err error) error {
	if why := c.why.Load(); why != nil {
		return *why
	}
	return err
}
