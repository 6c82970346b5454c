package command

import (
	"slices"
	"sync"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// journal remembers commands by id, so that one delivered again is not carried
// out again. It holds the last ones in memory; a restarted agent forgets them.
type journal struct {
	limit int

	mu      sync.Mutex
	order   []string
	entries map[string]*agentv1.CommandResult // nil while the command runs
}

func newJournal(limit int) *journal {
	return &journal{limit: limit, entries: map[string]*agentv1.CommandResult{}}
}

// begin reports whether the command is new. If it is not, result is how it
// ended; nil while it runs.
func (j *journal) begin(id string) (result *agentv1.CommandResult, fresh bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if result, known := j.entries[id]; known {
		return result, false
	}
	if len(j.order) >= j.limit {
		j.forgetOldest()
	}
	j.order = append(j.order, id)
	j.entries[id] = nil
	return nil, true
}

// forgetOldest forgets the oldest command that has ended; when all still run,
// it forgets none.
func (j *journal) forgetOldest() {
	for _, id := range j.order {
		if j.entries[id] != nil {
			j.drop(id)
			return
		}
	}
}

// forget makes the command new again.
func (j *journal) forget(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop(id)
}

func (j *journal) drop(id string) {
	delete(j.entries, id)
	j.order = slices.DeleteFunc(j.order, func(other string) bool { return other == id })
}

// end keeps the result.
func (j *journal) end(result *agentv1.CommandResult) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[result.GetId()] = result
}
