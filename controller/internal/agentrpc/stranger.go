package agentrpc

import (
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"fairlead.dev/shared/apperr"
)

// What a connection without a certificate may have: enough to enrol or to
// recover, some tries included, and too little to do harm with. Whatever a
// frame, a header or a message claims to be, no more of it than this is read.
const (
	strangerBytes = 128 << 10
	strangerTime  = 2 * time.Minute
	// maxStrangers are connected at once, on all addresses together. Those that
	// find no room come back.
	maxStrangers = 2048
)

// guest returns the connection as it is when the peer showed a certificate, and
// else bounded.
func (c *listenerCredentials) guest(conn net.Conn, info credentials.AuthInfo) (net.Conn, error) {
	if shown, ok := info.(credentials.TLSInfo); ok && len(shown.State.VerifiedChains) > 0 {
		return conn, nil
	}
	if c.strangers.Add(1) > maxStrangers {
		c.strangers.Add(-1)
		return nil, apperr.New(apperr.TooMany, "too many connections without a certificate")
	}
	s := &stranger{Conn: conn, left: strangerBytes, gone: &c.strangers}
	// Not a deadline of the connection: gRPC has its own.
	s.end = time.AfterFunc(strangerTime, func() { _ = s.leave() })
	return s, nil
}

// stranger is a connection without a certificate.
type stranger struct {
	net.Conn
	left   int // one goroutine reads
	gone   *atomic.Int64
	end    *time.Timer
	closed atomic.Bool
}

// Read reads until the bound.
func (s *stranger) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, apperr.New(apperr.TooMany, "a connection without a certificate sent more than %d bytes", strangerBytes)
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// Close makes room for another.
func (s *stranger) Close() error {
	s.end.Stop()
	return s.leave()
}

func (s *stranger) leave() error {
	if s.closed.CompareAndSwap(false, true) {
		s.gone.Add(-1)
	}
	return s.Conn.Close()
}
