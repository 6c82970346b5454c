package deployment_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// holder is an agent as far as sets go: it takes what it is sent by the rules
// that real agents follow.
type holder struct {
	w   *world
	id  uuid.UUID
	set *agentv1.AssignmentSet
	// sure is set while the present session has acknowledged what is held.
	sure bool
}

func (w *world) newHolder() *holder {
	w.t.Helper()
	id := w.insert(`insert into agents (id, node_id, key_hash, certificate_not_after, enrolled_at, epoch)
		values ($1, $2, gen_random_uuid()::text::bytea, now(), now(), 1)`, w.node)
	return &holder{w: w, id: id, set: &agentv1.AssignmentSet{}}
}

func (h *holder) ask() deployment.Ask {
	return deployment.Ask{AgentID: h.id, NodeID: h.w.node, Epoch: 1, Sure: h.sure, Held: deployment.Held{
		Lineage: h.set.GetLineage(), Generation: h.set.GetGeneration(), Hash: h.set.GetSetHash(),
	}}
}

func (h *holder) update(ask deployment.Ask) deployment.Update {
	h.w.t.Helper()
	updates, err := h.w.Updates(h.w.t.Context(), []deployment.Ask{ask})
	if err != nil {
		h.w.t.Fatalf("ask what is new: %v", err)
	}
	return updates[0]
}

// take has the agent ask and take what it is told, which must be of the given
// standing; it returns what that was. The database hears of it unless the
// acknowledgement is lost.
func (h *holder) take(want deployment.Standing, lost ...bool) *agentv1.AssignmentSet {
	h.w.t.Helper()
	u := h.update(h.ask())
	if u.Standing != want {
		h.w.t.Fatalf("the agent is %s, want %s; it holds %d", u.Standing, want, h.set.GetGeneration())
	}
	if want != deployment.Behind {
		return nil
	}
	h.w.wantRecorded(u.Set)
	sent := wire(u.Set)
	result, err := specpb.ApplySet(h.set, sent)
	if err != nil {
		h.w.t.Fatalf("the agent refuses the set: %v", err)
	}
	h.set = result
	if !slices.Contains(lost, true) {
		h.sure = true
		h.w.exec("update agents set applied_generation = $2, applied_set_hash = $3 where id = $1",
			h.id, int64(result.GetGeneration()), result.GetSetHash())
		for _, table := range []string{"forgotten_assignments", "offered_sets"} {
			h.w.exec("delete from "+table+" where node_id = $1 and generation <= $2", h.w.node, int64(result.GetGeneration()))
		}
	}
	return sent
}

// wantRecorded checks that the database knows what it offers, by the hash that
// agents work out.
func (w *world) wantRecorded(set deployment.Set) {
	w.t.Helper()
	if value[bool](w, `select exists (select from assignments a join releases r on r.id = a.release_id
			where a.node_id = $1 and r.set_part is null)`, w.node) {
		return
	}
	hash := value[string](w, "select coalesce(max(set_hash), '') from offered_sets where node_id = $1 and generation = $2", w.node, int64(set.Generation))
	if hash != set.Hash {
		w.t.Fatalf("of generation %d it is known that %q was offered, it is %s", set.Generation, hash, set.Hash)
	}
}

// wire is what goes to an agent.
func wire(set deployment.Set) *agentv1.AssignmentSet {
	p := &agentv1.AssignmentSet{
		Lineage: set.Lineage, Generation: set.Generation, SetHash: set.Hash,
		BaseGeneration: set.Base.Generation, BaseSetHash: set.Base.Hash, Forgotten: set.Forgotten, ReplacesLineage: set.Replaces,
	}
	for _, a := range set.Assignments {
		one := &agentv1.Assignment{Prefix: a.Prefix, Generation: a.Generation, RemovalConfirmed: a.RemovalConfirmed}
		if a.Deployment != nil {
			one.Desired = &agentv1.Assignment_Deployment{Deployment: specpb.DeploymentToProto(*a.Deployment)}
		} else {
			one.Desired = &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{DeploymentId: a.DeploymentID.String(), Act: a.Tombstone}}
		}
		p.Assignments = append(p.Assignments, one)
	}
	return p
}

func prefixes(set *agentv1.AssignmentSet) []string {
	list := []string{}
	for _, a := range set.GetAssignments() {
		list = append(list, a.GetPrefix())
	}
	return list
}

func (h *holder) wantSent(sent *agentv1.AssignmentSet, base bool, want ...string) {
	h.w.t.Helper()
	if got := prefixes(sent); fmt.Sprint(got) != fmt.Sprint(want) {
		h.w.t.Errorf("sent were %v, want %v", got, want)
	}
	if (sent.GetBaseGeneration() != 0) != base {
		h.w.t.Errorf("it is to base %d, want a change: %v", sent.GetBaseGeneration(), base)
	}
}

func TestOnlyWhatChangedIsSent(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	h.take(deployment.Current) // nothing was ever wanted

	version := w.version(w.project("shop"), "rolling", nil, "web", "db")
	shop, blog := w.create(version, "shop"), w.create(version, "blog")
	w.start(shop)
	h.wantSent(h.take(deployment.Behind), false, "shop")
	h.take(deployment.Current)

	w.start(blog)
	h.wantSent(h.take(deployment.Behind), true, "blog")

	// Starts that come together are one change.
	w.start(shop)
	w.start(shop)
	sent := h.take(deployment.Behind)
	h.wantSent(sent, true, "shop")
	if got := sent.GetAssignments()[0].GetDeployment().GetRelease(); got != 3 {
		t.Errorf("release %d was sent, want 3", got)
	}

	// A new session of an agent whose set the database knows goes on from it.
	h.sure = false
	h.take(deployment.Current)
	w.start(blog)
	h.wantSent(h.take(deployment.Behind), true, "blog")

	// A set whose acknowledgement was lost is recognised when it is the newest,
	// and written down as what the agent holds; it is no base when it is not.
	w.start(blog)
	h.take(deployment.Behind, true)
	h.sure = false
	h.take(deployment.Current)
	w.start(shop)
	h.sure = false
	h.wantSent(h.take(deployment.Behind), true, "shop")
	w.start(blog)
	h.take(deployment.Behind, true)
	h.sure = false
	w.start(shop)
	h.wantSent(h.take(deployment.Behind), false, "blog", "shop")
	h.wantWhole()

	// Who does not take changes gets it all.
	w.start(shop)
	ask := h.ask()
	ask.Whole = true
	if u := h.update(ask); u.Standing != deployment.Behind || u.Set.Base != (deployment.Held{}) || len(u.Set.Assignments) != 2 {
		t.Errorf("whole: %+v", u)
	}
}

// wantWhole compares what the agent came to hold with the node's set.
func (h *holder) wantWhole() {
	h.w.t.Helper()
	p := wire(h.w.set())
	if got, want := h.set.GetSetHash(), specpb.SetHash(p); got != want {
		h.w.t.Errorf("the agent holds %s, the node's set is %s", got, want)
	}
}

func TestATombstoneStaysUntilTheRemovalIsKnownAndItsTraceUntilTheAgentKnowsThat(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	version := w.version(w.project("shop"), "rolling", nil, "web")
	shop, blog := w.create(version, "shop"), w.create(version, "blog")
	w.deploy(shop, workload.PhaseSuccessful)
	w.deploy(blog, workload.PhaseSuccessful)
	h.take(deployment.Behind)

	if err := w.Delete(w.ctx, shop.ID); err != nil {
		t.Fatal(err)
	}
	sent := h.take(deployment.Behind)
	h.wantSent(sent, true, "shop")
	if a := sent.GetAssignments()[0]; a.GetTombstone().GetDeploymentId() != shop.ID.String() || !a.GetRemovalConfirmed() {
		t.Errorf("the tombstone is %v", a)
	}
	w.start(blog) // the tombstone is still wanted
	h.take(deployment.Behind)
	if w.assignment("shop").Tombstone == "" {
		t.Error("the tombstone went before it was done")
	}

	w.report(shop, workload.PhaseRemoved, nil)
	w.start(blog)
	sent = h.take(deployment.Behind, true)
	h.wantSent(sent, true, "blog")
	if fmt.Sprint(sent.GetForgotten()) != "[shop]" {
		t.Errorf("forgotten are %v", sent.GetForgotten())
	}
	h.sure = true
	if n := value[int](w, "select count(*) from forgotten_assignments"); n != 1 {
		t.Errorf("%d traces of forgotten prefixes before the agent is known to hold a set without", n)
	}

	// A prefix that is used again is forgotten no more.
	again := w.create(version, "shop")
	w.start(again)
	sent = h.take(deployment.Behind)
	h.wantSent(sent, true, "shop")
	if len(sent.GetForgotten()) != 0 {
		t.Errorf("forgotten are %v", sent.GetForgotten())
	}
	h.wantWhole()
}

func TestAPrefixWhoseContainersStayLeavesTheSetWithAWholeOne(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	version := w.version(w.project("shop"), "rolling", nil, "web")
	shop, blog := w.create(version, "shop"), w.create(version, "blog")
	w.deploy(shop, workload.PhaseSuccessful)
	w.deploy(blog, workload.PhaseSuccessful)
	h.take(deployment.Behind)

	if err := w.DeleteKeeping(w.ctx, shop.ID); err != nil {
		t.Fatal(err)
	}
	// A change that forgets what was not emptied is one that agents refuse.
	h.wantSent(h.take(deployment.Behind, true), false, "blog")
	h.wantWhole()
	h.take(deployment.Current)

	h.sure = true
	w.start(blog) // the agent holds a set without it; from here on changes do
	h.wantSent(h.take(deployment.Behind), true, "blog")

	again := w.create(version, "shop")
	w.start(again)
	h.wantSent(h.take(deployment.Behind), true, "shop")
	h.wantWhole()
}

func TestReleasesOfBeforePartsWereKeptAreHashedAllTheSame(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	version := w.version(w.project("shop"), "rolling", nil, "web")
	shop, blog := w.create(version, "shop"), w.create(version, "blog")
	w.start(shop)
	w.exec("update releases set set_part = null")
	h.take(deployment.Behind)
	w.start(blog)
	h.wantSent(h.take(deployment.Behind), true, "blog")
	h.wantWhole()
}

func TestManyAgentsAreAnsweredTogether(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	first := w.node
	var holders []*holder
	for i := range 5 {
		w.node = w.newNode(fmt.Sprint("node-", i))
		h := w.newHolder()
		h.w = &world{}
		*h.w = *w
		w.start(w.create(version, "shop"))
		holders = append(holders, h)
	}
	w.node = first
	asks := []deployment.Ask{{AgentID: uuid.New(), NodeID: uuid.New()}}
	for _, h := range holders {
		asks = append(asks, h.ask())
	}
	updates, err := w.Updates(t.Context(), asks)
	if err != nil || len(updates) != 6 || updates[0].Standing != deployment.Current {
		t.Fatalf("%+v, %v", updates, err)
	}
	for i, h := range holders {
		if _, err := specpb.ApplySet(h.set, wire(updates[i+1].Set)); err != nil || len(updates[i+1].Set.Assignments) != 1 {
			t.Errorf("node %d: %+v, %v", i, updates[i+1], err)
		}
	}
}

func TestAnAgentThatHoldsWhatThisDatabaseNeverWantedIsSentNothing(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	version := w.version(w.project("shop"), "rolling", nil, "web")
	shop := w.create(version, "shop")
	w.start(shop)
	h.take(deployment.Behind)
	w.start(shop)
	w.start(shop)
	events := func(event string) int {
		return value[int](w, "select count(*) from node_events where node_id = $1 and event = $2", w.node, event)
	}
	known := h.set
	for name, held := range map[string]*agentv1.AssignmentSet{
		"ahead":                 {Lineage: known.GetLineage(), Generation: 9, SetHash: "x"},
		"the same generation":   {Lineage: known.GetLineage(), Generation: 3, SetHash: "x"},
		"overtaken":             {Lineage: known.GetLineage(), Generation: 2, SetHash: "x"},
		"another database":      {Lineage: "another", Generation: 1, SetHash: "x"},
		"a generation too high": {Lineage: known.GetLineage(), Generation: 1 << 63, SetHash: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			before := events("diverged")
			h.set, h.sure = held, false
			h.take(deployment.Diverged)
			h.take(deployment.Diverged)
			if n := events("diverged") - before; n != 1 {
				t.Errorf("%d events, want 1", n)
			}
			if n := value[int](w, "select count(*) from audit_log where event = 'node.diverged' and team_id = $1", w.team); n != before+1 {
				t.Errorf("%d rows in the audit log, want %d", n, before+1)
			}
			says := map[string]string{
				"ahead": "newer set", "the same generation": "another set of the same generation", "overtaken": "has counted on since",
				"another database": "another database", "a generation too high": "newer set",
			}[name]
			if why := value[string](w, "select diverged from agents where id = $1 and diverged_at is not null", h.id); !strings.Contains(why, says) {
				t.Errorf("it says %q, want %q", why, says)
			}
			// It comes back to what this database knows.
			h.set = known
			if u := h.update(h.ask()); u.Standing != deployment.Behind {
				t.Errorf("then it is %s", u.Standing)
			}
			if n := value[int](w, "select count(*) from agents where diverged <> '' or diverged_at is not null"); n != 0 {
				t.Error("it still says that it diverged")
			}
		})
	}
}

// An acknowledgement that was lost makes nobody suspicious: what the agent holds
// was offered, however far the database has counted since.
func TestAnAgentWhoseAcknowledgementWasLostFollows(t *testing.T) {
	w := newWorld(t)
	h := w.newHolder()
	version := w.version(w.project("shop"), "rolling", nil, "web")
	shop, blog := w.create(version, "shop"), w.create(version, "blog")
	w.start(shop)
	h.take(deployment.Behind)
	w.start(blog)
	h.sure = false
	h.take(deployment.Behind, true)
	if err := w.Delete(w.ctx, blog.ID); err != nil {
		t.Fatal(err)
	}
	h.take(deployment.Behind, true)
	w.start(shop)
	h.take(deployment.Behind)
	if n := value[int](w, "select count(*) from offered_sets"); n != 0 {
		t.Errorf("%d offers are kept after the last was acknowledged", n)
	}
}

// However long nobody serves a node, no more is kept of it than so much.
func TestOffersToANodeThatNobodyServesAreBounded(t *testing.T) {
	w := newWorld(t)
	for range 23 {
		w.exec(`do $$ begin for i in 1..100 loop
				update nodes set generation = generation + 1;
				set constraints all immediate;
				set constraints all deferred;
			end loop; end $$`)
	}
	kept := value[[]int64](w, "select array[count(*), min(generation), max(generation)] from offered_sets where node_id = $1", w.node)
	if kept[0] > 1101 || kept[1] < 1200 || kept[2] != 2300 {
		t.Errorf("kept are %d offers, of generations %d to %d", kept[0], kept[1], kept[2])
	}
}

func TestAnOperatorMakesThisControllersSetTheWantedOne(t *testing.T) {
	for name, c := range map[string]struct {
		lineage string
		replace bool
		// starts are what this database wants after the agent went away.
		starts int
	}{
		"put back from a backup": {}, "another database": {lineage: "another", replace: true},
		"put back and counted on": {starts: 9},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := w.newHolder()
			version := w.version(w.project("shop"), "rolling", nil, "web")
			shop := w.create(version, "shop")
			w.start(shop)
			h.take(deployment.Behind)
			wantError(t, w.Adopt(w.ctx, w.node, false), apperr.Precondition, "nodeId")
			wantError(t, w.Adopt(w.ctx, uuid.New(), false), apperr.NotFound, "nodeId")

			// The agent has seen more than the database knows of.
			held := &agentv1.AssignmentSet{Lineage: h.set.GetLineage(), Generation: 7, Assignments: []*agentv1.Assignment{
				{Prefix: "shop", Generation: 7, Desired: h.set.GetAssignments()[0].GetDesired()},
				{Prefix: "unknown", Generation: 5, Desired: h.set.GetAssignments()[0].GetDesired()},
			}}
			if c.lineage != "" {
				held.Lineage = c.lineage
			}
			held.SetHash = specpb.SetHash(held)
			h.set, h.sure = held, false
			for range c.starts {
				w.start(shop)
			}
			h.take(deployment.Diverged)

			if err := w.Adopt(w.ctx, w.node, false); err != nil {
				t.Fatal(err)
			}
			sent := h.take(deployment.Behind)
			h.wantSent(sent, false, "shop")
			if sent.GetGeneration() <= 7 || sent.GetAssignments()[0].GetGeneration() != sent.GetGeneration() || (sent.GetReplacesLineage() != "") != c.replace {
				t.Errorf("sent was %v", sent)
			}
			h.take(deployment.Current)
			events := value[string](w, "select string_agg(event, ',' order by id) from node_events where node_id = $1", w.node)
			if events != "diverged,adopted,reunited" {
				t.Errorf("the history says %s", events)
			}
			if n := value[int](w, "select count(*) from audit_log where event = 'node.adopt'"); n != 1 {
				t.Errorf("%d rows in the audit log", n)
			}
			wantError(t, w.Adopt(w.ctx, w.node, false), apperr.Precondition, "nodeId")
		})
	}
}
