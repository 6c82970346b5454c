package bulk

import "fairlead.dev/shared/apperr"

// Link is a session's place in the broker: its streams live and end with it.
type Link struct {
	broker  *Broker
	session Session
	budget  *budget
	// pipes are guarded by the broker's mutex.
	pipes map[*pipe]struct{}
}

// Close ends the session's streams: the readers are told the cause.
func (l *Link) Close(cause error) {
	b := l.broker
	b.mu.Lock()
	if b.links[l.session.AgentID] == l { // a newer session may have come
		delete(b.links, l.session.AgentID)
	}
	pipes := make([]*pipe, 0, len(l.pipes))
	for p := range l.pipes {
		pipes = append(pipes, p)
	}
	b.mu.Unlock()
	e := apperr.New(apperr.Unavailable, "the node's connection ended").WithReason(ReasonSessionEnded)
	e.Err = cause
	for _, p := range pipes {
		p.Close(e)
	}
}
