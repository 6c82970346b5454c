package command

import (
	"encoding/json"
	"fmt"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/record"
)

// maxError bounds the text of an error that is kept on disk, in bytes.
const maxError = 8 << 10

// entry is one command in the journal.
type entry struct {
	id string
	// until is how long the entry must be kept at least: past it the command,
	// delivered again, is refused as expired.
	until time.Time
	// result is nil while the command runs.
	result *agentv1.CommandResult
	// acked is whether the controller has the result.
	acked bool
}

// line is one record of the journal's file, in JSON.
type line struct {
	// What is "agent" for the file's first line, "begin", "end" or "ack".
	What string `json:"what"`
	// ID is the command's; the agent's in the first line.
	ID    string    `json:"id"`
	Until time.Time `json:"until,omitzero"`
	// Error and Kind are of the result; empty for one that succeeded.
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"`
}

func (l line) append(b []byte) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("write the journal of commands: %w", err)
	}
	return record.Append(b, text), nil
}

func endOf(result *agentv1.CommandResult) line {
	text := result.GetError()
	if len(text) > maxError {
		text = text[:maxError] + "…"
	}
	return line{What: "end", ID: result.GetId(), Error: text, Kind: result.GetErrorKind()}
}

// read replays the records of a file. It returns the agent they are of, the
// entries in the order they began, and how many bytes were understood.
func read(content []byte) (agent string, entries []*entry, good int) {
	known := map[string]*entry{}
	good = record.Scan(content, func(payload []byte) {
		var l line
		if json.Unmarshal(payload, &l) != nil {
			return
		}
		e := known[l.ID]
		switch {
		case l.What == "agent":
			agent = l.ID
		case l.What == "begin" && e == nil:
			e = &entry{id: l.ID, until: l.Until}
			known[l.ID] = e
			entries = append(entries, e)
		case l.What == "end" && e != nil:
			e.result = &agentv1.CommandResult{Id: l.ID, Error: l.Error, ErrorKind: l.Kind}
		case l.What == "ack" && e != nil:
			e.acked = true
		}
	})
	return agent, entries, good
}
