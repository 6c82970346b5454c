// Package bulkpb converts what streams carry to and from the wire, for the
// agents' edge and for the one between replicas.
package bulkpb

import (
	"errors"
	"math"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.dev/controller/internal/bulk"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// Ask returns what an agent is asked.
func Ask(a bulk.Ask) *agentv1.BulkRequest {
	p := Request(a.Request)
	p.StreamId, p.Deadline = a.StreamID, timestamppb.New(a.Deadline)
	return p
}

// Request returns what is asked for, without the id of a stream.
func Request(r bulk.Request) *agentv1.BulkRequest {
	p := &agentv1.BulkRequest{}
	if r.Exec != nil {
		p.What = &agentv1.BulkRequest_Exec{Exec: &agentv1.Exec{
			Prefix: r.Container.Prefix, Name: r.Container.Name, Command: r.Exec.Command, Tty: r.Exec.TTY, Stdin: r.Exec.Stdin,
			Size: sizeToProto(r.Exec.Size), Environment: r.Exec.Environment,
		}}
		return p
	}
	logs := &agentv1.FollowLogs{
		Prefix: r.Container.Prefix, Name: r.Container.Name, Tail: int32(min(r.Logs.Tail, math.MaxInt32)), Follow: r.Logs.Follow,
	}
	if !r.Logs.Since.IsZero() {
		logs.Since = timestamppb.New(r.Logs.Since)
	}
	p.What = &agentv1.BulkRequest_Logs{Logs: logs}
	return p
}

// RequestFrom reads what is asked for; Invalid when it is nothing known.
func RequestFrom(p *agentv1.BulkRequest) (bulk.Request, error) {
	switch what := p.GetWhat().(type) {
	case *agentv1.BulkRequest_Logs:
		logs := &bulk.Logs{Tail: int(what.Logs.GetTail()), Follow: what.Logs.GetFollow()}
		if what.Logs.GetSince() != nil {
			logs.Since = what.Logs.GetSince().AsTime()
		}
		return bulk.Request{Container: workload.ContainerID{Prefix: what.Logs.GetPrefix(), Name: what.Logs.GetName()}, Logs: logs}, nil
	case *agentv1.BulkRequest_Exec:
		return bulk.Request{
			Container: workload.ContainerID{Prefix: what.Exec.GetPrefix(), Name: what.Exec.GetName()},
			Exec: &bulk.Exec{
				Command: what.Exec.GetCommand(), TTY: what.Exec.GetTty(), Stdin: what.Exec.GetStdin(),
				Size: sizeFrom(what.Exec.GetSize()), Environment: what.Exec.GetEnvironment(),
			},
		}, nil
	default:
		return bulk.Request{}, apperr.New(apperr.Invalid, "the request asks for nothing that this controller knows")
	}
}

// Up returns a part on its way to the reader.
func Up(up bulk.Up) *agentv1.BulkUp {
	switch {
	case up.End != nil:
		end := &agentv1.BulkEnd{}
		if up.End.Err != nil {
			end.Error, end.ErrorKind = up.End.Err.Error(), apperr.KindOf(up.End.Err).String()
		}
		if up.End.ExitCode != nil {
			code := int32(*up.End.ExitCode)
			end.ExitCode = &code
		}
		return &agentv1.BulkUp{Body: &agentv1.BulkUp_End{End: end}}
	case up.Stream != "":
		return &agentv1.BulkUp{Body: &agentv1.BulkUp_Output{Output: &agentv1.ExecOutput{Stream: up.Stream, Data: up.Data}}}
	default:
		batch := &agentv1.LogBatch{Dropped: up.Dropped}
		for _, line := range up.Lines {
			batch.Lines = append(batch.Lines, specpb.LogLineToProto(line))
		}
		return &agentv1.BulkUp{Body: &agentv1.BulkUp_Logs{Logs: batch}}
	}
}

// UpFrom reads a part. Invalid when it is none that may follow the first.
func UpFrom(p *agentv1.BulkUp) (bulk.Up, error) {
	switch body := p.GetBody().(type) {
	case *agentv1.BulkUp_Logs:
		up := bulk.Up{Dropped: body.Logs.GetDropped(), Lines: make([]workload.LogLine, len(body.Logs.GetLines()))}
		for i, line := range body.Logs.GetLines() {
			up.Lines[i] = specpb.LogLineFromProto(line)
			up.Lines[i].Stream = streamFrom(line.GetStream())
		}
		return up, nil
	case *agentv1.BulkUp_Output:
		return bulk.Up{Stream: streamFrom(body.Output.GetStream()), Data: body.Output.GetData()}, nil
	case *agentv1.BulkUp_End:
		return bulk.Up{End: endFrom(body.End)}, nil
	default:
		return bulk.Up{}, apperr.New(apperr.Invalid, "%T is no part of a stream", body)
	}
}

// streamFrom lets no other words through than the two there are.
func streamFrom(name string) string {
	if name == workload.StreamStderr {
		return workload.StreamStderr
	}
	return workload.StreamStdout
}

func endFrom(p *agentv1.BulkEnd) *bulk.End {
	end := &bulk.End{}
	if p.GetError() != "" {
		text := p.GetError()
		text = text[:min(len(text), maxErrorBytes)]
		end.Err = errors.New(text)
		if kind := specpb.KindFromProto(p.GetErrorKind()); kind != apperr.Internal {
			end.Err = apperr.New(kind, "%s", text)
		}
	}
	if p.ExitCode != nil {
		code := int(p.GetExitCode())
		end.ExitCode = &code
	}
	return end
}

const maxErrorBytes = 4 << 10

// Down returns a part on its way to the agent.
func Down(d bulk.Down) *agentv1.BulkDown {
	if d.Resize != nil {
		return &agentv1.BulkDown{Body: &agentv1.BulkDown_Resize{Resize: sizeToProto(*d.Resize)}}
	}
	return &agentv1.BulkDown{Body: &agentv1.BulkDown_Input{Input: &agentv1.ExecInput{Data: d.Input, Closed: d.InputClosed}}}
}

// DownFrom reads a part on its way to the agent.
func DownFrom(p *agentv1.BulkDown) bulk.Down {
	if size := p.GetResize(); size != nil {
		s := sizeFrom(size)
		return bulk.Down{Resize: &s}
	}
	return bulk.Down{Input: p.GetInput().GetData(), InputClosed: p.GetInput().GetClosed()}
}

func sizeToProto(s bulk.Size) *agentv1.TerminalSize {
	if s == (bulk.Size{}) {
		return nil
	}
	return &agentv1.TerminalSize{Columns: s.Columns, Rows: s.Rows}
}

func sizeFrom(p *agentv1.TerminalSize) bulk.Size {
	return bulk.Size{Columns: p.GetColumns(), Rows: p.GetRows()}
}
