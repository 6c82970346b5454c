package bulk

import (
	"context"
	"math"
	"slices"
	"sync"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/workload"
)

const (
	// maxInput is the most input handed to a command at once, maxOutput the
	// most output sent: messages beyond 32 KiB take 1 MiB each on their way
	// through gRPC.
	maxInput  = 32 << 10
	maxOutput = 30 << 10
)

// exec runs a command. Nothing is dropped: whoever is slow slows down the other
// end.
func (c *Client) exec(ctx context.Context, ask *agentv1.Exec, s *carry, down <-chan *agentv1.BulkDown) (exitCode *int32, err error) {
	feeding, cancel := context.WithCancel(ctx)
	var fed sync.WaitGroup
	defer fed.Wait()
	defer cancel()
	resize := make(chan workload.TerminalSize, 1)
	var input chan []byte
	if ask.GetStdin() {
		input = make(chan []byte)
	}
	fed.Go(func() { feed(feeding, down, input, resize) })
	streams := workload.ExecStreams{Input: input, Resize: resize, Output: func(stream string, data []byte) error {
		for piece := range slices.Chunk(data, maxOutput) {
			// Sending encodes the message before it returns.
			m := &agentv1.BulkUp{Body: &agentv1.BulkUp_Output{Output: &agentv1.ExecOutput{Stream: stream, Data: piece}}}
			if err := s.send(m); err != nil {
				return err
			}
		}
		return nil
	}}
	code, err := c.config.Driver.Exec(ctx, workload.ContainerID{Prefix: ask.GetPrefix(), Name: ask.GetName()}, workload.ExecOptions{
		Command: ask.GetCommand(), Terminal: ask.GetTty(), Size: sizeFrom(ask.GetSize()), Environment: ask.GetEnvironment(),
	}, streams)
	if err != nil {
		return nil, err
	}
	exit := int32(code)
	return &exit, nil
}

// feed sorts what the controller sends into input and sizes. Input waits until
// the command takes it; of sizes only the latest counts.
func feed(ctx context.Context, down <-chan *agentv1.BulkDown, input chan<- []byte, resize chan workload.TerminalSize) {
	for {
		var m *agentv1.BulkDown
		select {
		case m = <-down:
		case <-ctx.Done():
			return
		}
		switch body := m.GetBody().(type) {
		case *agentv1.BulkDown_Resize:
			select {
			case <-resize:
			default:
			}
			resize <- sizeFrom(body.Resize) // has room: nobody else sends
		case *agentv1.BulkDown_Input:
			if input == nil {
				continue // after its end, or not asked for
			}
			for piece := range slices.Chunk(body.Input.GetData(), maxInput) {
				select {
				case input <- piece:
				case <-ctx.Done():
					return
				}
			}
			if body.Input.GetClosed() {
				close(input)
				input = nil
			}
		}
	}
}

func sizeFrom(p *agentv1.TerminalSize) workload.TerminalSize {
	return workload.TerminalSize{
		Columns: uint16(min(p.GetColumns(), math.MaxUint16)),
		Rows:    uint16(min(p.GetRows(), math.MaxUint16)),
	}
}
