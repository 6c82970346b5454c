package figures

import "fmt"

// figure is one that was printed; floor is 0 when there is none.
type figure struct {
	value float64
	unit  string
	floor float64
}

// goal is what a figure should be with 10,000 agents on two processors.
type goal struct {
	name string
	// most is the greatest value that is good enough, least the smallest;
	// ratio tells that it is about the ratio to the floor.
	most, least float64
	atLeast     bool
	ratio       bool
	// why says, for one that is missed, what bounds it.
	why string
}

func most(name string, value float64, why string) goal {
	return goal{name: name, most: value, why: why}
}

func least(name string, value float64, why string) goal {
	return goal{name: name, least: value, atLeast: true, why: why}
}

func ratio(name string, value float64) goal { return goal{name: name, most: value, ratio: true} }

// none is what "no statement" may come to: a statement of the time in which it
// was measured.
const none = 0.01

// goals are all of them, in the order of the parts.
func goals() []goal {
	const shared = "the fleet, which shares the processors, PostgreSQL and the kernel take the rest of them"
	return []goal{
		most("enrol_race_winners_of_1000", 1, ""), least("enrol_race_winners_of_1000", 1, ""),
		least("enrolments", 200, "each is a transaction of its own, flushed to the disk"),
		most("rss_per_agent_at_rest", 64, ""), ratio("rss_per_agent_at_rest", 1.5),
		most("goroutines_per_agent", 5, ""),
		most("rss_per_agent_warm", 92, ""), most("rss_all_warm", 1024, ""),
		most("heartbeat_cpu_of_10000", 0.10, ""), ratio("heartbeat_cpu_of_10000", 1.5),
		most("heartbeat_sql", 1, ""), most("heartbeat_allocations", 12, ""),
		most("status_resync", 10, ""),
		least("status_changed_containers", 40_000, "PostgreSQL takes 9 us a row; "+shared),
		least("status_unchanged_reports", 15_000, "see the floor's rate and processor time of a report; "+shared),
		most("status_unchanged_sql", none, ""),
		most("status_changed_sustained_ack_p99", 500, ""), most("status_unchanged_sustained_ack_p99", 500, ""),
		most("status_changed_ack_p99", 500, "all agents report at the same moment: the last waits for the size of the fleet divided by the rate"),
		most("status_unchanged_ack_p99", 500, "all agents report at the same moment: the last waits for the size of the fleet divided by the rate"),
		most("commit_to_agent_p50", 3, ""), most("commit_to_agent_p99", 50, ""),
		most("across_replicas_commit_to_agent_p99", 100, ""),
		most("revision_to_all_durable_and_acknowledged", 2.6, "revision_cpu and revision_postgresql_cpu times the agents, and the fleet's own part, are the two processors' time"),
		most("killed_agent_lost", 20, ""), most("frozen_agent_lost", 20, ""),
		most("killed_others_lost", 0, ""), most("frozen_others_lost", 0, ""),
		most("controller_killed_all_back", 45, "see the floor's, whose agents come back by the same pauses"),
		most("controller_killed_peak_rss", 1.5, ""), most("controller_killed_marked_lost", 0, ""),
		most("lossy_network_marked_lost", 0, "a pause of this process longer than 12 s silences agents: see lossy_network_longest_pause_of_this_process"),
	}
}

// met reports whether a figure is good enough, and what it should be.
func (g goal) met(f figure) (bool, string) {
	switch {
	case g.ratio:
		return f.value <= g.most*f.floor, fmt.Sprintf("<= %g x floor", g.most)
	case g.atLeast:
		return f.value >= g.least, fmt.Sprintf(">= %g", g.least)
	default:
		return f.value <= g.most, fmt.Sprintf("<= %g", g.most)
	}
}

// judge prints of each figure that has a goal whether it is met; of one that is
// not, what bounds it.
func (b *bench) judge() {
	for _, g := range goals() {
		f, taken := b.taken[g.name]
		if !taken || g.ratio && f.floor == 0 {
			continue
		}
		good, want := g.met(f)
		word, why := "met", ""
		if !good {
			word, why = "MISSED", g.why
			if f.floor > 0 {
				why = fmt.Sprintf("floor in this run: %.4g %s. %s", f.floor, f.unit, why)
			}
		}
		if b.Agents != fullFleet {
			word += fmt.Sprintf(" with %d agents", b.Agents)
		}
		_, _ = fmt.Fprintf(b.Out, "goal: %s\t%.4g\t%s\t%s\t%s\t%s\n", g.name, f.value, f.unit, want, word, why)
	}
}
