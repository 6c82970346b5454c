package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
)

// errHungUp ends what a stream is for: the controller has no more use for it.
var errHungUp = errors.New("the controller ended the stream")

// carry is one open stream. One goroutine sends, one receives.
type carry struct {
	stream grpc.BidiStreamingClient[agentv1.BulkUp, agentv1.BulkDown]
	// hungUp is closed when the controller has ended the stream.
	hungUp chan struct{}
}

// serve opens the stream that was asked for, does what it is for, and says how
// that ended.
func (c *Client) serve(ctx context.Context, r *agentv1.BulkRequest, admitted bool) error {
	conn, release, err := c.wire.acquire()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := open(ctx, cancel, conn, r.GetStreamId())
	if err != nil {
		return err
	}

	var down chan *agentv1.BulkDown
	if r.GetExec() != nil {
		down = make(chan *agentv1.BulkDown)
	}
	ended := make(chan struct{})
	go s.receive(cancel, down, ended)
	defer func() {
		cancel(nil) // which ends the stream, and so receive
		<-s.hungUp
	}()
	end := &agentv1.BulkEnd{}
	err = c.mayBegin(ctx, r, admitted)
	if err == nil {
		if r.GetExec() != nil {
			end.ExitCode, err = c.exec(ctx, r.GetExec(), s, down)
		} else {
			err = c.logs(ctx, r.GetLogs(), s)
		}
	}
	close(ended)
	if cause := context.Cause(ctx); cause != nil {
		return cause // nobody listens
	}
	if err != nil {
		end.Error, end.ErrorKind = err.Error(), apperr.KindOf(err).String()
	}
	return s.end(end)
}

// open opens a stream within a time.
func open(ctx context.Context, cancel context.CancelCauseFunc, conn *grpc.ClientConn, id string) (*carry, error) {
	late := time.AfterFunc(openTimeout, func() { cancel(fmt.Errorf("the stream could not be opened within %s", openTimeout)) })
	defer late.Stop()
	stream, err := agentv1.NewBulkServiceClient(conn).Carry(ctx, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	s := &carry{stream: stream, hungUp: make(chan struct{})}
	return s, s.send(&agentv1.BulkUp{Body: &agentv1.BulkUp_Open{Open: &agentv1.BulkOpen{StreamId: id}}})
}

// send sends a message; it blocks while the controller does not read.
func (s *carry) send(m *agentv1.BulkUp) error {
	err := s.stream.Send(m)
	if errors.Is(err, io.EOF) {
		return errHungUp // receive knows more
	}
	if err != nil {
		return fmt.Errorf("send on a stream: %w", err)
	}
	return nil
}

// receive hands over what the controller says, as fast as it is taken, and ends
// ctx when the controller ends the stream. What comes after ended is closed
// nobody needs.
func (s *carry) receive(cancel context.CancelCauseFunc, down chan<- *agentv1.BulkDown, ended <-chan struct{}) {
	defer close(s.hungUp)
	for {
		m, err := s.stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: %w", errHungUp, err)
			} else {
				err = errHungUp
			}
			cancel(err)
			return
		}
		if down == nil {
			continue
		}
		select {
		case down <- m:
		case <-ended:
			down = nil
		case <-s.stream.Context().Done():
		}
	}
}

// end says the last word and waits until the controller has heard it.
func (s *carry) end(end *agentv1.BulkEnd) error {
	if err := s.send(&agentv1.BulkUp{Body: &agentv1.BulkUp_End{End: end}}); err != nil {
		return err
	}
	if err := s.stream.CloseSend(); err != nil {
		return fmt.Errorf("close a stream: %w", err)
	}
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-s.hungUp:
		return nil
	case <-late.C:
		return errors.New("the controller did not end the stream")
	}
}
