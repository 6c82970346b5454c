package replica

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/bulkpb"
	replicav1 "fairlead.dev/protobuf/gen/fairlead/replica/v1"
)

// Join carries to the replica at an address what one of its agents brings
// here. NotFound when that replica does not wait for the stream.
func (c *Client) Join(ctx context.Context, address string, agentID uuid.UUID, streamID string) (bulk.Bearer, error) {
	client, done, err := c.to(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(answerTimeout+connectTimeout, cancel)
	defer late.Stop()
	b := &bearer{cancel: cancel, left: done, downs: make(chan bulk.Down), done: make(chan struct{})}
	if b.call, err = client.Join(ctx); err != nil {
		b.Left()
		return nil, fromStatus(err)
	}
	open := &replicav1.JoinUp{Body: &replicav1.JoinUp_Open{Open: &replicav1.JoinOpen{AgentId: agentID.String(), StreamId: streamID}}}
	if err := b.call.Send(open); err != nil && !errors.Is(err, io.EOF) {
		b.Left()
		return nil, fromStatus(err)
	}
	if _, err := b.call.Recv(); err != nil { // also tells why Send failed
		b.Left()
		return nil, fromStatus(err)
	}
	go b.receive(ctx) // ends with the call
	return b, nil
}

// bearer carries to another replica.
type bearer struct {
	call   grpc.BidiStreamingClient[replicav1.JoinUp, replicav1.JoinDown]
	cancel context.CancelFunc
	left   func()
	downs  chan bulk.Down
	done   chan struct{}
}

func (b *bearer) receive(ctx context.Context) {
	defer close(b.done)
	for {
		m, err := b.call.Recv()
		if err != nil {
			return
		}
		select {
		case b.downs <- bulkpb.DownFrom(m.GetDown()):
		case <-ctx.Done():
			return
		}
	}
}

// Deliver implements bulk.Bearer.
func (b *bearer) Deliver(_ context.Context, up bulk.Up) error {
	if err := b.call.Send(bulkUp(bulkpb.Up(up))); err != nil {
		return fromStatus(err)
	}
	if up.End == nil {
		return nil
	}
	// Whatever was sent is to arrive: hang up when the other end has it.
	_ = b.call.CloseSend()
	<-b.done
	return nil
}

// Next implements bulk.Bearer.
func (b *bearer) Next(ctx context.Context) (bulk.Down, error) {
	select {
	case d := <-b.downs:
		return d, nil
	case <-b.done:
		return bulk.Down{}, io.EOF
	case <-ctx.Done():
		return bulk.Down{}, context.Cause(ctx)
	}
}

// Done implements bulk.Bearer.
func (b *bearer) Done() <-chan struct{} { return b.done }

// Left implements bulk.Bearer.
func (b *bearer) Left() {
	b.cancel()
	b.left()
}
