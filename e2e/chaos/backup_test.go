package chaos_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/e2e/chaos/engine"
	"fairlead.dev/e2e/client"
)

// snapshot is what a player knew when the database was backed up.
type snapshot struct {
	deployment string
	releases   map[string]map[int64]string
	value      string
	exits      []engine.Container
}

// prepare sees to it that the player's container runs, so that a backup has
// something to bring back.
func (p *player) prepare(ctx context.Context) error {
	if p.value != "" {
		return nil
	}
	return p.release(ctx)
}

func (p *player) snapshot() snapshot {
	s := snapshot{deployment: p.deployment, value: p.value, exits: slices.Clone(p.exits), releases: map[string]map[int64]string{}}
	for d, r := range p.releases {
		s.releases[d] = maps.Clone(r)
	}
	return s
}

// resume makes what is expected what the backup knew; what happened to
// containers until now is not looked at again.
func (p *player) resume(s snapshot) {
	for act, n := range p.asked {
		p.w.acts[act] += n
	}
	p.deployment, p.releases, p.value, p.running, p.exits = s.deployment, s.releases, s.value, true, s.exits
	p.asked, p.unsure, p.seen = map[string]int{}, map[string]int{}, len(p.node.engine.Effects())
}

// backup copies the database into a file while the players pause.
func (w *world) backup(players []*player) []snapshot {
	w.t.Helper()
	_ = os.Remove(w.dumpFile())
	mustRun(w.t, w.db, "pg_dump", "--format=custom", "--file="+w.dumpFile(), w.db.url(database))
	w.tell("backed up")
	var list []snapshot
	for _, p := range players {
		list = append(list, p.snapshot())
	}
	return list
}

func (w *world) dumpFile() string { return filepath.Join(w.db.dir, "dump") }

// set reads what a node's agent has on its disk.
func (n *node) set() (*agentv1.AssignmentSet, error) {
	set := &agentv1.AssignmentSet{}
	content, err := os.ReadFile(filepath.Join(n.dir, "assignments.pb"))
	if err != nil {
		return nil, err
	}
	return set, proto.Unmarshal(content, set)
}

// putBack puts the database back from its backup while no agent can reach a
// controller, and lets it count on for a random while. Then the agents return:
// one that holds what this database never wanted is left alone until somebody
// decides that it follows.
func (w *world) putBack(ctx context.Context, r *rand.Rand, players []*player, known []snapshot) error {
	for _, n := range w.nodes {
		n.proxy.Line().Down(true)
	}
	for _, c := range w.controllers {
		c.kill()
	}
	mustRun(w.t, w.db, "psql", "--quiet", "--command", "drop database "+database+" with (force)", w.db.url("postgres"))
	mustRun(w.t, w.db, "psql", "--quiet", "--command", "create database "+database, w.db.url("postgres"))
	mustRun(w.t, w.db, "pg_restore", "--exit-on-error", "--dbname="+w.db.url(database), w.dumpFile())
	w.tell("put back")
	for _, c := range w.controllers {
		c.start(w.t)
		w.awaitReady(c)
	}
	for i, p := range players {
		p.resume(known[i])
		for range r.IntN(4) {
			if last, err := p.see(ctx); err != nil {
				return err
			} else if last.Status == client.InProgress {
				p.releases[p.deployment][last.LastTry] = "superseded"
			}
			if _, err := p.start(ctx, client.Successful); err != nil {
				return err
			}
		}
	}
	acts := map[*node]int{}
	may := map[*node]bool{}
	for _, n := range w.nodes {
		acts[n] = n.asked()
		set, err := n.set()
		if err != nil {
			return err
		}
		type row struct{ Known bool }
		list, err := rows[row](w, fmt.Sprintf(`select a.applied_generation = %[2]d and a.applied_set_hash = '%[3]s'
				or exists (select from offered_sets o where o.node_id = a.node_id and o.generation = %[2]d and o.set_hash = '%[3]s') as known
			from agents a where a.node_id = '%[1]s' and a.revoked_at is null`, n.id, set.GetGeneration(), set.GetSetHash()))
		if err != nil {
			return err
		}
		may[n] = len(list) == 1 && list[0].Known
		n.proxy.Line().Heal()
	}
	if err := w.awaitConnected(ctx, healing); err != nil {
		return err
	}
	for _, n := range w.nodes {
		if may[n] {
			w.tell("%s holds what the backup knows", n.name)
			continue
		}
		err := client.Await(ctx, healing, n.name+" to have diverged", func() (bool, string, error) {
			seen, err := w.team.Node(ctx, n.id)
			return err == nil && seen.Diverged != nil, fmt.Sprint(seen, err), nil
		})
		if err != nil {
			return err
		}
		if more := n.asked() - acts[n]; more != 0 {
			w.violation("%s: %d acts on containers although the agent diverged", n.name, more)
		}
		w.tell("%s diverged, and is adopted", n.name)
		if err := w.team.Call(ctx, http.MethodPost, "/api/chaos/nodes/"+n.id+"/adopt?confirmRemoval=true", nil, nil); err != nil {
			return err
		}
	}
	return w.quiet(ctx, healing)
}

// asked counts what was asked of a node's containers.
func (n *node) asked() int {
	count := 0
	for _, e := range n.engine.Effects() {
		if e.Asked {
			count++
		}
	}
	return count
}

func (w *world) violation(format string, args ...any) {
	w.t.Helper()
	text := fmt.Sprintf(format, args...)
	w.tell("VIOLATION %s", text)
	w.t.Errorf("VIOLATION %s", text)
}

// settled waits until what was started after the database was put back has
// ended, and the players' containers are what it then wants: an agent may have
// to apply a release again after somebody decided.
func (w *world) settled(ctx context.Context, players []*player) {
	for _, p := range players {
		if err := p.outcome(ctx, client.Successful); err != nil {
			w.violation("%v", err)
		}
		err := client.Await(ctx, healing, p.prefix+" to run what was backed up", func() (bool, string, error) {
			list := p.containers()
			return len(list) == 1 && list[0].Labels.Value == p.value && list[0].Running, fmt.Sprintf("%+v, want %s", list, p.value), nil
		})
		if err != nil {
			w.violation("%v", err)
		}
	}
}
