package agentrt

import (
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/workload"
)

// capabilities are the optional behaviours this agent has. Each is announced
// only by what really has it.
func (a *Agent) capabilities() []string {
	list := []string{protocol.Delta, protocol.Ping, protocol.Quarantine, protocol.Trust, protocol.CommandAck, protocol.Inspect, protocol.Policy, protocol.Spool, protocol.Bulk, protocol.Exec, protocol.Plan}
	if a.config.Replacer != nil {
		list = append(list, protocol.Update)
	}
	if _, ok := a.config.Driver.(workload.Warden); ok {
		list = append(list, protocol.Drift)
	}
	return append(list, a.config.Capabilities...)
}

// announced are the optional behaviours that the other side said it has. It is
// sent nothing that belongs to another.
type announced map[string]bool

func announcedBy(capabilities []string) announced {
	set := make(announced, len(capabilities))
	for _, name := range capabilities {
		set[name] = true
	}
	return set
}
