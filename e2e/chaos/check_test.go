package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/e2e/chaos/engine"
	"fairlead.dev/e2e/client"
)

// quiet waits until nothing is left to be said: every node has the set that the
// database wants, and everything it did is known.
func (w *world) quiet(ctx context.Context, patience time.Duration) error {
	if err := w.awaitConnected(ctx, patience); err != nil {
		return err
	}
	return client.Await(ctx, patience, "the sets on the nodes to be those of the database", func() (bool, string, error) {
		type row struct {
			Name    string `json:"name"`
			Wanted  int64  `json:"wanted"`
			Has     int64  `json:"has"`
			Hash    string `json:"hash"`
			Refusal string `json:"refusal"`
		}
		list, err := rows[row](w, `select n.name, n.generation as wanted, a.applied_generation as has, a.applied_set_hash as hash, a.refusal
			from nodes n join agents a on a.node_id = n.id and a.revoked_at is null order by n.name`)
		if err != nil {
			return false, err.Error(), nil //nolint:nilerr // it is waited for
		}
		for i, r := range list {
			if r.Wanted != r.Has || r.Refusal != "" {
				return false, fmt.Sprintf("%+v", r), nil
			}
			set, err := w.nodes[i].set()
			if err != nil || set.GetGeneration() != uint64(r.Has) || set.GetSetHash() != r.Hash {
				return false, fmt.Sprintf("%+v, on its disk is %d %s, %v", r, set.GetGeneration(), set.GetSetHash(), err), nil
			}
		}
		return len(list) == len(w.nodes), fmt.Sprint(len(list), " agents"), nil
	})
}

// check compares what there is with what must be, and returns what is wrong.
func (w *world) check(ctx context.Context, players []*player) []string {
	var wrong []string
	for _, p := range players {
		wrong = append(wrong, p.wrong...)
		p.wrong = nil
		p.check(ctx)
		wrong = append(wrong, p.wrong...)
	}
	for _, c := range w.controllers {
		wrong = append(wrong, c.look()...)
	}
	for _, n := range w.nodes {
		wrong = append(wrong, n.agent.look()...)
		wrong = append(wrong, w.checkNode(ctx, n, players)...)
	}
	return wrong
}

func (p *player) check(ctx context.Context) {
	p.checkContainers()
	p.checkReleases(ctx)
	p.checkEffects()
	for _, exit := range p.exits {
		n, err := p.facts(exit)
		if err != nil || n != 1 {
			p.fail("the exit of %s with %d at %s is known %d times, %v", exit.ID, exit.ExitCode, exit.FinishedAt.Format(time.RFC3339Nano), n, err)
		}
	}
}

// checkContainers: what should run runs, and nothing else.
func (p *player) checkContainers() {
	list := p.containers()
	if p.value == "" {
		if len(list) != 0 {
			p.fail("there is nothing to run, and yet %v", list)
		}
		return
	}
	if len(list) != 1 || list[0].Name != p.prefix+"-"+containerName || list[0].Labels.Value != p.value || list[0].Running != p.running {
		p.fail("want one container with %s, running %v; there are %+v", p.value, p.running, list)
	}
}

// checkReleases: every release that was accepted has the outcome it had to
// have, and there are no others.
func (p *player) checkReleases(ctx context.Context) {
	releases, err := p.w.team.Releases(ctx, p.deployment)
	if err != nil {
		p.fail("%v", err)
		return
	}
	expected := p.releases[p.deployment]
	if len(releases) != len(expected) {
		p.fail("there are %d releases, %d were accepted", len(releases), len(expected))
	}
	for _, r := range releases {
		want := expected[r.Number]
		if want == "" { // overtaken or not
			want = r.Outcome
			if want != client.Successful && want != "superseded" {
				want = "successful or superseded"
			}
		}
		if r.Outcome != want {
			p.fail("release %d is %s, want %s (%+v)", r.Number, r.Outcome, want, r.Failure)
		}
	}
}

// checkEffects: nothing was done that nobody asked for.
func (p *player) checkEffects() {
	made := map[string]int{}
	starts, restarts := map[string]int{}, 0
	for _, e := range p.node.engine.Effects()[p.seen:] {
		if e.Container.Labels.Prefix != p.prefix || !e.Asked {
			continue
		}
		switch e.Act {
		case engine.Create:
			made[e.Container.Labels.Value+"/"+e.Container.Labels.Hash]++
		case engine.Start:
			starts[e.Container.ID]++
		case engine.Restart:
			restarts++
		}
	}
	for what, n := range made {
		value, _, _ := strings.Cut(what, "/")
		if n > 1 && !slices.Contains(p.failedValues, value) {
			p.fail("the container of %s was made %d times", value, n)
		}
	}
	again := 0
	for _, n := range starts {
		again += n - 1
	}
	if again > p.asked[engine.Start] {
		p.fail("containers were started again %d times, that was asked %d times", again, p.asked[engine.Start])
	}
	if restarts > p.asked[engine.Restart] {
		p.fail("there were %d restarts, %d were asked for", restarts, p.asked[engine.Restart])
	}
}

// checkNode: what the API shows of a node is what is on it, and nothing is
// there that nobody wants.
func (w *world) checkNode(ctx context.Context, n *node, players []*player) []string {
	var wrong []string
	prefixes := map[string]bool{}
	for _, p := range players {
		prefixes[p.prefix] = true
	}
	var want []string
	for _, c := range n.engine.Containers() {
		state := "exited"
		if c.Running {
			state = "running"
		}
		want = append(want, c.Name+" "+state)
		if !prefixes[c.Labels.Prefix] {
			wrong = append(wrong, fmt.Sprintf("%s: orphan %s", n.name, c.Name))
		}
	}
	err := client.Await(ctx, healing, "the containers of "+n.name+" to be shown as they are", func() (bool, string, error) {
		list, err := w.team.Containers(ctx, n.id, "")
		if err != nil {
			return false, err.Error(), nil //nolint:nilerr // it is waited for
		}
		var shown []string
		for _, c := range list {
			shown = append(shown, c.ID.Prefix+"-"+c.ID.Name+" "+c.State)
		}
		slices.Sort(shown)
		return slices.Equal(shown, want), fmt.Sprintf("%v, want %v", shown, want), nil
	})
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	return wrong
}
