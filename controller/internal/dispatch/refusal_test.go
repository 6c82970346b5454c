package dispatch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/dispatch"
)

// TestWhatWasRefusedIsOfferedAgain: an agent whose disk is full refuses a
// change, and then the next one, which was on its way already and has the first
// for its base.
func TestWhatWasRefusedIsOfferedAgain(t *testing.T) {
	w := newWatch(t)
	held := func(generation uint64) deployment.Held {
		return deployment.Held{Lineage: "l", Generation: generation, Hash: fmt.Sprint("hash ", generation)}
	}
	change := func(from, to uint64) deployment.Set {
		s := deployment.Set{Lineage: "l", Generation: to, Hash: held(to).Hash}
		if from != 0 {
			s.Base = held(from)
		}
		return s
	}
	l := w.Add(agent.Session{AgentID: uuid.New(), NodeID: uuid.New(), Epoch: 1}, newSender(), dispatch.Hello{Held: held(10), Delta: true})
	whole := func(what string, want bool) {
		t.Helper()
		ask, asks := l.Asks(12)
		if asks != want || asks && (!ask.Whole || ask.Held != held(10)) {
			t.Fatalf("%s: it asks %v, %+v", what, asks, ask)
		}
	}
	l.Answered(change(10, 11))
	l.Answered(change(11, 12))
	whole("all is sent", false)
	l.Refused(false) // 11: no room
	l.Refused(true)  // 12: no change to what is held
	whole("a change did not fit", true)
	l.Answered(change(0, 12))
	l.Refused(false) // still no room
	whole("there is no room", false)
	w.clock += time.Minute
	w.Sweep()
	whole("a while later", true)
	l.Answered(change(0, 12))
	l.Taken(12, held(12).Hash)
	w.clock += time.Minute
	w.Sweep()
	whole("it was taken", false)

	// What does not fit though it is all there is, is not sent again at once.
	l.Answered(change(0, 13))
	l.Refused(true)
	if _, asks := l.Asks(13); asks {
		t.Error("a set that was refused as a whole is sent again at once")
	}
}
