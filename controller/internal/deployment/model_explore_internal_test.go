package deployment

import (
	"fmt"
	"strings"
	"testing"
)

// step is one thing that may happen next in a model.
type step[S comparable] struct {
	name string
	to   S
	// wrong is what is wrong with this step; "" when nothing is.
	wrong string
}

// model is a state machine that is looked at exhaustively.
type model[S comparable] struct {
	start S
	next  func(S) []step[S]
	// wrong says what is wrong with a state, settled what is wrong once
	// everything heals from it on.
	wrong   func(S) string
	settled func(S) string
}

// explored is how much there was.
type explored struct{ states, steps int }

// explore visits every state that can be reached, and returns the shortest way
// to something wrong, or nil.
func explore[S comparable](m model[S], limit int) (seen explored, way []string) {
	type from struct {
		state S
		step  string
	}
	came := map[S]from{m.start: {}}
	path := func(s S, last ...string) []string {
		var way []string
		for s != m.start {
			way = append(way, came[s].step)
			s = came[s].state
		}
		for i, j := 0, len(way)-1; i < j; i, j = i+1, j-1 {
			way[i], way[j] = way[j], way[i]
		}
		return append(way, last...)
	}
	queue := []S{m.start}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		seen.states++
		if seen.states > limit {
			return seen, []string{fmt.Sprintf("more than %d states", limit)}
		}
		if wrong := m.wrong(s); wrong != "" {
			return seen, path(s, "WRONG: "+wrong)
		}
		if wrong := m.settled(s); wrong != "" {
			return seen, path(s, "everything heals", "WRONG: "+wrong)
		}
		for _, n := range m.next(s) {
			seen.steps++
			if n.wrong != "" {
				return seen, path(s, n.name, "WRONG: "+n.wrong)
			}
			if _, known := came[n.to]; !known {
				came[n.to] = from{s, n.name}
				queue = append(queue, n.to)
			}
		}
	}
	return seen, nil
}

// mustHold fails the test when a model can go wrong.
func mustHold[S comparable](t *testing.T, m model[S]) {
	t.Helper()
	seen, way := explore(m, 6_000_000)
	t.Logf("%d states, %d steps", seen.states, seen.steps)
	if way != nil {
		t.Errorf("it goes wrong:\n  %s", strings.Join(way, "\n  "))
	}
}

// mustFail fails the test when a model cannot go wrong: the guard that it is
// without would then be of no use, or the checker blind.
func mustFail[S comparable](t *testing.T, m model[S]) {
	t.Helper()
	seen, way := explore(m, 6_000_000)
	if way == nil {
		t.Errorf("nothing goes wrong without the guard, in %d states", seen.states)
		return
	}
	t.Logf("%d states until\n  %s", seen.states, strings.Join(way, "\n  "))
}
