// Package chaos_test runs controllers, PostgreSQL and agents as processes,
// breaks everything around and inside of them as a seed says, and compares what
// became of what was asked: nothing is lost, nothing is done twice.
package chaos_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// shortRun is how long faults go on in an ordinary run of the tests.
	shortRun = 40 * time.Second
	// healing is how long everything may take to be well again: agents wait up
	// to a minute between tries.
	healing = 3 * time.Minute
)

// TestChaos: CHAOS_SEED replays a schedule, CHAOS_MINUTES makes it longer.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if said := os.Getenv("CHAOS_SEED"); said != "" {
		var err error
		seed, err = strconv.ParseUint(said, 10, 64)
		must(t, err)
	}
	run := shortRun
	if said := os.Getenv("CHAOS_MINUTES"); said != "" {
		minutes, err := strconv.ParseFloat(said, 64)
		must(t, err)
		run = time.Duration(minutes * float64(time.Minute))
	}
	t.Logf("CHAOS_SEED=%d, faults for %s", seed, run)
	w := newWorld(t, seed, 1, 3)

	ctx, cancel := context.WithTimeout(context.Background(), run+healing)
	defer cancel()
	rest, stop := context.WithTimeout(ctx, run)
	defer stop()
	var players []*player
	for _, n := range w.nodes {
		for i := range 2 {
			players = append(players, w.newPlayer(n, i))
		}
	}
	var playing sync.WaitGroup
	stuck := make([]error, len(players))
	for i, p := range players {
		playing.Go(func() { stuck[i] = p.play(ctx, rest) })
	}
	had := w.misbehave(rest)
	w.tell("healed")
	for _, p := range players {
		w.tell("%s is at: %s", p.prefix, p.doing.Load())
	}
	playing.Wait()
	w.tell("the players are done")
	for _, err := range stuck {
		if err != nil {
			t.Errorf("VIOLATION %v", err)
		}
	}
	if err := w.quiet(context.Background(), time.Minute); err != nil {
		t.Errorf("VIOLATION %v", err)
	}
	for _, wrong := range w.check(context.Background(), players) {
		t.Errorf("VIOLATION %s", wrong)
	}
	t.Log(summary(w, had, players))
	if t.Failed() {
		t.Logf("replay with CHAOS_SEED=%d; the story ends with\n%s", seed, strings.Join(w.story[max(0, len(w.story)-60):], "\n"))
	}
}

func summary(w *world, had map[string]int, players []*player) string {
	acts, releases, exits, kills := map[string]int{}, 0, 0, 0
	for _, p := range players {
		for act, n := range p.asked {
			acts[act] += n
		}
		for _, r := range p.releases {
			releases += len(r)
		}
		exits += len(p.exits)
	}
	for _, n := range w.nodes {
		kills += n.agent.kills
	}
	for _, c := range w.controllers {
		kills += c.kills
	}
	return fmt.Sprintf("faults %v; %d processes killed; %d releases, commands %v, %d exits", had, kills, releases, acts, exits)
}
