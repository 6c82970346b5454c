package specpb_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/specpb"
)

const (
	refusedLineage = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE
	refusedStale   = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE
	refusedHash    = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH
	refusedBase    = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE
	refusedRemoval = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_MASS_REMOVAL
)

// hashed gives a set its hash.
func hashed(s *agentv1.AssignmentSet) *agentv1.AssignmentSet {
	s.SetHash = specpb.SetHash(s)
	return s
}

func full(generation uint64, assignments ...*agentv1.Assignment) *agentv1.AssignmentSet {
	return hashed(&agentv1.AssignmentSet{Lineage: "l", Generation: generation, Assignments: assignments})
}

// running assigns a deployment with the named workloads; their instances have
// the same names.
func running(prefix string, generation uint64, workloads ...string) *agentv1.Assignment {
	d := &agentv1.Deployment{Id: "id-" + prefix, Prefix: prefix, Release: int64(generation)}
	for _, name := range workloads {
		d.Workloads = append(d.Workloads, &agentv1.Workload{
			InstanceId: "i-" + name, Hash: fmt.Sprintf("h-%s-%d", name, generation),
			Image:     &agentv1.Image{Reference: "image"},
			Container: &agentv1.ContainerConfig{Name: &name},
		})
	}
	return &agentv1.Assignment{Prefix: prefix, Generation: generation, Desired: &agentv1.Assignment_Deployment{Deployment: d}}
}

func buried(prefix string, generation uint64) *agentv1.Assignment {
	return &agentv1.Assignment{Prefix: prefix, Generation: generation, Desired: &agentv1.Assignment_Tombstone{
		Tombstone: &agentv1.Tombstone{DeploymentId: "id-" + prefix, Act: "delete"},
	}}
}

func confirmed(a *agentv1.Assignment) *agentv1.Assignment {
	a.RemovalConfirmed = true
	return a
}

// changed returns a copy that was changed after its hash was made.
func changed(s *agentv1.AssignmentSet, change func(*agentv1.AssignmentSet)) *agentv1.AssignmentSet {
	s = proto.CloneOf(s)
	change(s)
	return s
}

func mustDiff(t testing.TB, base, target *agentv1.AssignmentSet) *agentv1.AssignmentSet {
	t.Helper()
	delta, ok := specpb.DiffSet(base, target)
	if !ok {
		t.Fatalf("no delta from %v to %v", base, target)
	}
	return delta
}

func TestApplySet(t *testing.T) {
	held := full(5, running("blog", 2, "web"), running("shop", 5, "web", "db"), buried("old", 4))
	next := full(7, running("blog", 2, "web"), running("shop", 7, "web", "db"), running("wiki", 6, "web"))
	other := changed(next, func(s *agentv1.AssignmentSet) { s.Lineage = "other"; hashed(s) })
	earlier := changed(other, func(s *agentv1.AssignmentSet) { s.Generation, s.ReplacesLineage = 1, "l"; hashed(s) })
	delta := mustDiff(t, held, next)
	if len(delta.GetAssignments()) != 2 || !slices.Equal(delta.GetForgotten(), []string{"old"}) {
		t.Fatalf("the delta is %v", delta)
	}
	nothing := &agentv1.AssignmentSet{}

	for _, c := range []struct {
		name     string
		held     *agentv1.AssignmentSet
		received *agentv1.AssignmentSet
		want     *agentv1.AssignmentSet
		refused  agentv1.AssignmentsRefusal
	}{
		{"the first set", nothing, held, held, 0},
		{"the next whole set", held, next, next, 0},
		{"the next set as a change", held, delta, next, 0},
		{"the held set again", held, proto.CloneOf(held), held, 0},
		{"a change that came twice", next, delta, next, 0},
		{"a set of no lineage", held, changed(next, func(s *agentv1.AssignmentSet) { s.Lineage = ""; hashed(s) }), nil, refusedLineage},
		{"a first set of no lineage", nothing, changed(next, func(s *agentv1.AssignmentSet) { s.Lineage = ""; hashed(s) }), nil, refusedLineage},
		{"a set of another lineage", held, other, nil, refusedLineage},
		{"a set that replaces this lineage", held, earlier, earlier, 0},
		{"a set that replaces another lineage", held, changed(earlier, func(s *agentv1.AssignmentSet) { s.ReplacesLineage = "x" }), nil, refusedLineage},
		{"a change that replaces this lineage", held, changed(delta, func(s *agentv1.AssignmentSet) { s.Lineage, s.ReplacesLineage = "other", "l" }), nil, refusedBase},
		{"an older set", next, held, nil, refusedStale},
		{"another set of the same generation", held, full(5, buried("shop", 5)), nil, refusedStale},
		{"an empty older set", held, full(1), nil, refusedStale},
		{"a set that is not what it claims", held, changed(next, func(s *agentv1.AssignmentSet) { s.Assignments = s.Assignments[1:] }), nil, refusedHash},
		{"a prefix twice", held, full(9, running("shop", 9, "web"), running("shop", 9, "db")), nil, refusedHash},
		{"a change when nothing is held", nothing, delta, nil, refusedBase},
		{"a change to an older generation", full(6, held.GetAssignments()...), delta, nil, refusedBase},
		{"a change to another set of the generation", full(5, running("blog", 2, "web")), delta, nil, refusedBase},
		{"a change that names another generation of the base", held, changed(delta, func(s *agentv1.AssignmentSet) { s.BaseGeneration = 4 }), nil, refusedBase},
		{"a change that names another hash of the base", held, changed(delta, func(s *agentv1.AssignmentSet) { s.BaseSetHash = next.GetSetHash() }), nil, refusedBase},
		{"a change that lacks a part", held, changed(delta, func(s *agentv1.AssignmentSet) { s.Assignments = s.Assignments[1:] }), nil, refusedBase},
		{"a change that assigns a prefix twice", held, changed(delta, func(s *agentv1.AssignmentSet) { s.Assignments = append(s.Assignments, s.Assignments[0]) }), nil, refusedBase},
		{"a change that forgets what runs", held, changed(delta, func(s *agentv1.AssignmentSet) {
			s.Assignments, s.Forgotten = nil, []string{"shop"}
			s.SetHash = full(7, running("blog", 2, "web"), buried("old", 4)).GetSetHash()
		}), nil, refusedBase},
		{"a change that forgets what is not there", held, changed(delta, func(s *agentv1.AssignmentSet) { s.Forgotten = []string{"old", "none"} }), nil, refusedBase},
		{"a change that forgets what it assigns", held, changed(delta, func(s *agentv1.AssignmentSet) {
			s.Assignments = append(s.Assignments, running("old", 7, "web"))
			s.SetHash = full(7, append(next.GetAssignments(), running("old", 7, "web"))...).GetSetHash()
		}), nil, refusedBase},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, sent := proto.CloneOf(c.held), proto.CloneOf(c.received)
			got, err := specpb.ApplySet(c.held, c.received)
			if !proto.Equal(c.held, before) || !proto.Equal(c.received, sent) {
				t.Error("an argument was changed")
			}
			var refusal *specpb.SetRefusal
			switch {
			case c.refused != 0:
				if !errors.As(err, &refusal) || refusal.Reason != c.refused || refusal.Detail == "" || got != nil {
					t.Fatalf("got %v, %v, want %s", got, err, c.refused)
				}
			case err != nil:
				t.Fatal(err)
			case got.GetLineage() != c.want.GetLineage() || got.GetGeneration() != c.want.GetGeneration() ||
				got.GetSetHash() != c.want.GetSetHash() || specpb.SetHash(got) != c.want.GetSetHash() || got.GetBaseGeneration() != 0:
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestMassRemoval(t *testing.T) {
	names := func(n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("w%d", i))
		}
		return list
	}
	held := full(1, running("a", 1, names(4)...), running("b", 1, names(16)...), running("c", 1, "web"), running("d", 1), buried("e", 1))
	taken := running("b", 2, names(16)...) // by another deployment, the same names
	for _, w := range taken.GetDeployment().GetWorkloads() {
		w.InstanceId += "-other"
	}
	renamed := running("b", 2, names(16)...)
	for _, w := range renamed.GetDeployment().GetWorkloads() {
		name := "new-" + w.GetContainer().GetName()
		w.Container.Name = &name
	}
	for _, c := range []struct {
		name  string
		next  []*agentv1.Assignment
		lost  int
		names string // of the prefixes, when it is too many
	}{
		{"nothing", held.GetAssignments(), 0, ""},
		{"a fifth of 21 is 4", []*agentv1.Assignment{buried("a", 2)}, 4, ""},
		{"5 of 21", []*agentv1.Assignment{buried("a", 2), buried("c", 2)}, 5, "a, c"},
		{"5 of 21, some confirmed", []*agentv1.Assignment{confirmed(buried("a", 2)), buried("c", 2)}, 1, ""},
		{"fewer workloads in a release", []*agentv1.Assignment{running("b", 2, names(11)...)}, 5, "b"},
		{"fewer workloads, confirmed", []*agentv1.Assignment{confirmed(running("b", 2, names(11)...))}, 0, ""},
		{"a release without workloads", []*agentv1.Assignment{running("b", 2)}, 16, "b"},
		{"absence removes nothing", nil, 0, ""},
		{"a tombstone again", []*agentv1.Assignment{buried("e", 2)}, 0, ""},
		{"another deployment's containers of the same names", []*agentv1.Assignment{taken}, 0, ""},
		{"containers with new names", []*agentv1.Assignment{renamed}, 0, ""},
		{"what this version does not know", []*agentv1.Assignment{{Prefix: "b", Generation: 2}}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := full(2, c.next...)
			for what, base := range map[string]*agentv1.AssignmentSet{"the set": held, "its outline": specpb.OutlineSet(held)} {
				if r := specpb.RemovalOf(base, next); r.Workloads != c.lost || r.Held != 21 || r.TooMany() != (c.names != "") {
					t.Errorf("from %s: %+v", what, r)
				}
			}
			_, err := specpb.ApplySet(held, next)
			var refusal *specpb.SetRefusal
			if c.names == "" {
				if err != nil {
					t.Fatal(err)
				}
			} else if !errors.As(err, &refusal) || refusal.Reason != refusedRemoval || !strings.Contains(refusal.Detail, "prefixes "+c.names+";") {
				t.Fatalf("got %v", err)
			}
		})
	}
	small := full(1, running("a", 1, names(3)...), running("b", 1, "web"))
	if _, err := specpb.ApplySet(small, full(2, buried("a", 2))); err != nil {
		t.Errorf("3 of 4: %v", err)
	}
	if _, err := specpb.ApplySet(small, full(2, buried("a", 2), buried("b", 2))); err == nil {
		t.Error("4 of 4 were removed at once")
	}
}

// history is a node's assignments as a controller changes them.
type history struct {
	generation uint64
	now        map[string]*agentv1.Assignment
}

// step makes one change, as the API does: a prefix gets a release, a tombstone,
// or loses its tombstone. Removals are confirmed.
func (h *history) step(t *rapid.T) {
	h.generation++
	prefix := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "prefix")
	switch old := h.now[prefix]; {
	case old.GetTombstone() != nil && rapid.Bool().Draw(t, "forget"):
		delete(h.now, prefix)
	case old.GetDeployment() != nil && rapid.Bool().Draw(t, "bury"):
		h.now[prefix] = confirmed(buried(prefix, h.generation))
	default:
		h.now[prefix] = confirmed(running(prefix, h.generation, rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 3, rapid.ID).Draw(t, "workloads")...))
	}
}

func (h *history) set() *agentv1.AssignmentSet {
	prefixes := slices.Sorted(maps.Keys(h.now))
	var list []*agentv1.Assignment
	for _, prefix := range prefixes {
		list = append(list, h.now[prefix])
	}
	return full(h.generation, list...)
}

// TestChangesAddUpToTheWhole: an agent that took any sequence of deltas, each
// over one or more changes, holds what one that took the last whole set holds.
func TestChangesAddUpToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{now: map[string]*agentv1.Assignment{}}
		held := &agentv1.AssignmentSet{}
		for range rapid.IntRange(1, 30).Draw(t, "sends") {
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				h.step(t)
			}
			target := h.set()
			received := proto.CloneOf(target)
			if outline := specpb.OutlineSet(target); specpb.SetHash(outline) != target.GetSetHash() || !proto.Equal(specpb.OutlineSet(outline), outline) {
				t.Fatalf("the outline %v is of another set", outline)
			}
			base := held
			if rapid.Bool().Draw(t, "from an outline") {
				base = specpb.OutlineSet(held)
			}
			if delta, ok := specpb.DiffSet(base, target); ok {
				received = proto.CloneOf(delta) // it travels
			} else if held.GetLineage() != "" && !h.lost(held) {
				t.Fatalf("no delta from %v to %v", held, target)
			}
			next, err := specpb.ApplySet(held, received)
			if err != nil {
				t.Fatalf("%v of %v over %v", err, received, held)
			}
			if whole, err := specpb.ApplySet(&agentv1.AssignmentSet{}, target); err != nil || !proto.Equal(next, whole) {
				t.Fatalf("holds %v, want %v, %v", next, whole, err)
			}
			held = next
		}
	})
}

// lost reports whether a prefix that ran in the set is in the history no more:
// its tombstone came and went between two sets.
func (h *history) lost(held *agentv1.AssignmentSet) bool {
	return slices.ContainsFunc(held.GetAssignments(), func(a *agentv1.Assignment) bool {
		return a.GetDeployment() != nil && h.now[a.GetPrefix()] == nil
	})
}

// TestAWithheldChangeEndsInOneWholeSet: a controller that believes its deltas
// arrive, a link that loses some of them, and an agent: whatever is lost costs
// one whole set, and in the end the agent holds the target.
func TestAWithheldChangeEndsInOneWholeSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{now: map[string]*agentv1.Assignment{}}
		held := &agentv1.AssignmentSet{}
		var sent *agentv1.AssignmentSet // what the controller believes is held
		gaps, wholes := 0, 0
		open := false // something was withheld since the last set that arrived
		sends := rapid.IntRange(1, 40).Draw(t, "sends")
		for i := range sends {
			h.step(t)
			target := h.set()
			received, isDelta := specpb.DiffSet(sent, target)
			if !isDelta {
				received = target
			}
			withheld := isDelta && i < sends-1 && rapid.IntRange(0, 3).Draw(t, "withhold") == 0
			sent = specpb.OutlineSet(target)
			if withheld {
				if !open {
					gaps++
				}
				open = true
				continue
			}
			next, err := specpb.ApplySet(held, received)
			var refusal *specpb.SetRefusal
			if errors.As(err, &refusal) {
				if refusal.Reason != refusedBase || !open {
					t.Fatalf("refused without a gap: %v", err)
				}
				wholes++
				next, err = specpb.ApplySet(held, target)
			} else if open && !isDelta {
				wholes++ // the whole set was needed for another reason and closed the gap
			}
			if err != nil {
				t.Fatalf("the whole set is refused: %v", err)
			}
			open = false
			held = next
			if !proto.Equal(specpb.OutlineSet(held), specpb.OutlineSet(target)) {
				t.Fatalf("holds %v, want %v", held, target)
			}
		}
		if gaps != wholes {
			t.Fatalf("%d gaps cost %d whole sets", gaps, wholes)
		}
	})
}

// FuzzApplySet: whatever comes, an agent never panics, never holds what does
// not have its hash, and never goes back.
func FuzzApplySet(f *testing.F) {
	held := full(5, running("blog", 2, "web"), running("shop", 5, "web", "db"), buried("old", 4))
	for _, s := range []*agentv1.AssignmentSet{
		held, full(7, running("shop", 7, "web", "db")), {Lineage: "l"},
		mustDiff(f, held, full(7, running("blog", 2, "web"), running("shop", 7, "web"))),
	} {
		raw, err := proto.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, mend bool) {
		received := &agentv1.AssignmentSet{}
		if proto.Unmarshal(raw, received) != nil {
			t.Skip("not a message")
		}
		if mend && received.GetBaseGeneration() == 0 { // gets past the hash
			hashed(received)
		}
		got, err := specpb.ApplySet(held, received)
		var refusal *specpb.SetRefusal
		switch {
		case err != nil:
			if !errors.As(err, &refusal) || refusal.Detail == "" || got != nil {
				t.Fatalf("got %v, %v", got, err)
			}
		case specpb.SetHash(got) != got.GetSetHash() || specpb.CheckSet(got) != nil:
			t.Fatalf("took %v", got)
		case got.GetLineage() == held.GetLineage() && got.GetGeneration() < held.GetGeneration():
			t.Fatalf("went back to %v", got)
		case specpb.RemovalOf(held, got).TooMany():
			t.Fatalf("removed all with %v", got)
		}
	})
}
