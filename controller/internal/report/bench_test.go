package report_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/workload"
)

// What the benchmarks report with: as many agents as report at the same time,
// and as many containers as each has.
const (
	benchAgents     = 4000
	benchContainers = 10
	// benchResync is how many agents come back at once.
	benchResync = 10_000
	// benchWindow is how many reports an agent has under way.
	benchWindow = 4
)

// figure prints one line of what make bench shows: name, value, unit, the floor
// in the same unit, and value by floor.
func figure(name string, value float64, unit string, floor float64) {
	peer, ratio := "-", "-"
	if floor > 0 {
		peer, ratio = fmt.Sprintf("%.1f", floor), fmt.Sprintf("%.2f", value/floor)
	}
	_, _ = fmt.Fprintf(os.Stdout, "\nfigure: %s\t%.1f\t%s\t%s\t%s\n", name, value, unit, peer, ratio)
}

// fleet adds nodes with agents, by few statements.
func (w *world) fleet(count int) []agent.Session {
	w.t.Helper()
	sessions := make([]agent.Session, count)
	nodes, agents := make([][16]byte, count), make([][16]byte, count)
	for i := range sessions {
		sessions[i] = agent.Session{AgentID: uuid.New(), NodeID: uuid.New(), Epoch: 1}
		nodes[i], agents[i] = sessions[i].NodeID, sessions[i].AgentID
	}
	w.exec(`insert into nodes (id, team_id, name, type, created_at, created_by, updated_at, updated_by)
		select id, $2, id::text, 'docker', now(), '', now(), '' from unnest($1::uuid[]) as n (id)`, nodes, w.team)
	w.exec(`insert into agents (id, node_id, key_hash, certificate_not_after, enrolled_at, epoch)
		select id, node_id, id::text::bytea, now(), now(), 1 from unnest($1::uuid[], $2::uuid[]) as a (id, node_id)`, agents, nodes)
	return sessions
}

// containers are a node's, in the n-th state they come to.
func containers(n int) []workload.Container {
	list := make([]workload.Container, benchContainers)
	for i := range list {
		list[i] = container(fmt.Sprint("name-", i))
		list[i].EngineID = fmt.Sprintf("%064d", i)
		list[i].RestartCount = n
	}
	return list
}

// floor is what one statement for each report would do: one node's containers
// upserted, in a transaction of its own. It returns containers a second.
func (w *world) floor(sessions []agent.Session) float64 {
	w.t.Helper()
	write := func(n int) {
		list := containers(n)
		for _, s := range sessions {
			if err := w.store.PutContainers(w.t.Context(), []report.NodeContainers{{NodeID: s.NodeID, Changed: list}}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	write(-2)
	began := time.Now()
	write(-1)
	return float64(len(sessions)*benchContainers) / time.Since(began).Seconds()
}

// answers measures how long reports wait for their answers.
type answers struct {
	mu    sync.Mutex
	since map[uint64]time.Time
	taken []time.Duration
	done  *sync.WaitGroup
	room  chan struct{}
}

func (a *answers) sentAt(sequence uint64, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since[sequence] = at
}

func (a *answers) Committed(sequence, _ uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, at := range a.since {
		if n <= sequence {
			a.taken = append(a.taken, time.Since(at))
			delete(a.since, n)
			a.done.Done()
			<-a.room
		}
	}
}

func (a *answers) Refused(err error) { panic(err) }

// drive has every session send so many reports, all at once, and returns how
// long it took until all had their answers.
func (w *world) drive(lines []*report.Line, all []*answers, reports int, next func(session, n int) report.Report) time.Duration {
	w.t.Helper()
	var done, senders sync.WaitGroup
	done.Add(len(lines) * reports)
	for i := range all {
		all[i].mu.Lock()
		all[i].done, all[i].taken = &done, nil
		all[i].mu.Unlock()
	}
	began := time.Now()
	for i, line := range lines {
		senders.Go(func() {
			for n := range reports {
				p := next(i, n)
				all[i].room <- struct{}{}
				all[i].sentAt(p.Sequence, time.Now())
				if err := line.Report(w.t.Context(), p); err != nil {
					panic(err)
				}
			}
		})
	}
	senders.Wait()
	done.Wait()
	return time.Since(began)
}

func (w *world) lines(sessions []agent.Session) ([]*report.Line, []*answers) {
	lines, all := make([]*report.Line, len(sessions)), make([]*answers, len(sessions))
	for i, s := range sessions {
		all[i] = &answers{since: map[uint64]time.Time{}, room: make(chan struct{}, benchWindow)}
		lines[i] = w.Open(s, all[i])
	}
	return lines, all
}

// BenchmarkIngest measures what agents report becoming durable.
func BenchmarkIngest(b *testing.B) {
	if b.N > 1 {
		b.Skip("it measures by itself: run it with -benchtime 1x")
	}
	w := newWorld(b)
	sessions := w.fleet(benchAgents)
	floor := w.floor(sessions[:1000])
	lines, all := w.lines(sessions)
	w.drive(lines, all, 1, func(int, int) report.Report {
		return report.Report{Sequence: 1, Containers: &report.Containers{List: containers(0)}}
	})

	const rounds = 3
	states := make([][]workload.Container, rounds)
	for n := range states {
		states[n] = containers(n + 1)
	}
	before := w.store.transactions.Load()
	took := w.drive(lines, all, rounds, func(_, n int) report.Report {
		return report.Report{Sequence: uint64(n) + 2, Containers: &report.Containers{List: states[n]}}
	})
	figure("ingest_all_changed", rounds*benchAgents*benchContainers/took.Seconds(), "containers/s", floor)
	figure("ingest_all_changed_transactions", float64(w.store.transactions.Load()-before)/took.Seconds(), "1/s", 0)

	// One report in a hundred says something new.
	const quiet = 40
	same := states[rounds-1]
	other := containers(rounds + 1)
	took = w.drive(lines, all, quiet, func(session, n int) report.Report {
		list := same
		if session%100 == 0 && n > quiet/2 {
			list = other
		}
		return report.Report{Sequence: uint64(n) + 2 + rounds, Containers: &report.Containers{List: list}}
	})
	figure("ingest_mostly_unchanged", quiet*benchAgents/took.Seconds(), "reports/s", floor/benchContainers)

	// Everything changes, at half the rate that is asked for.
	const sequence = 2 + rounds + quiet
	list := containers(rounds + 2)
	taken := w.pace(lines, all, func(int) report.Report {
		return report.Report{Sequence: sequence, Containers: &report.Containers{List: list}}
	})
	figure("ingest_20000_changed_containers_per_second_ack_p50", milliseconds(taken[len(taken)/2]), "ms", 0)
	figure("ingest_20000_changed_containers_per_second_ack_p99", milliseconds(taken[len(taken)*99/100]), "ms", 0)
}

// benchRate is how many reports a second pace sends.
const benchRate = 20_000 / benchContainers

// pace has every session send one report, so many a second whatever becomes of
// them, and returns how long answers took.
func (w *world) pace(lines []*report.Line, all []*answers, next func(session int) report.Report) []time.Duration {
	w.t.Helper()
	var done sync.WaitGroup
	done.Add(len(lines))
	began := time.Now()
	for i, line := range lines {
		all[i].mu.Lock()
		all[i].done, all[i].taken = &done, nil
		all[i].mu.Unlock()
		due := began.Add(time.Duration(i) * time.Second / benchRate)
		if wait := time.Until(due); wait > 0 {
			<-time.After(wait) // the load is by the clock
		}
		p := next(i)
		all[i].room <- struct{}{}
		all[i].sentAt(p.Sequence, due)
		if err := line.Report(w.t.Context(), p); err != nil {
			w.t.Fatal(err)
		}
	}
	done.Wait()
	var taken []time.Duration
	for _, a := range all {
		taken = append(taken, a.taken...)
	}
	slices.Sort(taken)
	return taken
}

// BenchmarkResync measures 10,000 agents that come back with all they have:
// once as the database has it, once all different.
func BenchmarkResync(b *testing.B) {
	if b.N > 1 {
		b.Skip("it measures by itself: run it with -benchtime 1x")
	}
	w := newWorld(b)
	sessions := w.fleet(benchResync)
	for round, name := range []string{"first", "unchanged", "all_changed"} {
		lines, all := w.lines(sessions)
		list := containers(round / 2)
		took := w.drive(lines, all, 1, func(int, int) report.Report {
			return report.Report{Sequence: uint64(round) + 1, Containers: &report.Containers{List: list}}
		})
		figure("resync_100000_containers_"+name, took.Seconds()*1000, "ms", 0)
		for _, line := range lines {
			line.Close()
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
