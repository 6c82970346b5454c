package dispatch

import (
	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/deployment"
)

// Asks returns the question about a line whose node is at a generation.
func (l *Line) Asks(generation uint64) (deployment.Ask, bool) {
	return l.ask(agent.Standing{Generation: generation})
}

// Answered has the line believe that it was sent a set.
func (l *Line) Answered(set deployment.Set) {
	l.answered(deployment.Update{Standing: deployment.Behind, Set: set}, set.Generation)
}

// Deliver sends a set on a line.
func (l *Line) Deliver(set deployment.Set) { l.dispatcher.deliver(parcel{line: l, set: &set}) }
