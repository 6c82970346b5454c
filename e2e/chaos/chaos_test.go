// Package chaos_test runs controllers, PostgreSQL and agents as processes,
// breaks everything around and inside of them as a seed says, and compares what
// became of what was asked: nothing is lost, nothing is done twice. It goes on
// in rounds; between them the database is put back to what it was before the
// round, and agents that then hold what it never wanted must be left alone until
// somebody decides.
package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	// shortSeed is the schedule of an ordinary run: what fails there is of the
	// change that is tested, not of the day.
	shortSeed = uint64(1)
	// roundTime is how long one round of a longer run takes; after it the
	// database is put back to what it was before.
	roundTime = 30 * time.Second
	// healing is how long everything may take to be well again: agents wait up
	// to a minute between tries, and the machine may be busy with other tests.
	// It is waited for only as long as something is missing.
	healing = 3 * time.Minute
)

// TestChaos: CHAOS_MINUTES makes it longer, with another schedule each time;
// CHAOS_SEED replays one.
func TestChaos(t *testing.T) {
	seed, run := shortSeed, shortRun
	if said := os.Getenv("CHAOS_MINUTES"); said != "" {
		minutes, err := strconv.ParseFloat(said, 64)
		must(t, err)
		seed, run = uint64(time.Now().UnixNano()), time.Duration(minutes*float64(time.Minute))
	}
	if said := os.Getenv("CHAOS_SEED"); said != "" {
		var err error
		seed, err = strconv.ParseUint(said, 10, 64)
		must(t, err)
	}
	t.Logf("CHAOS_SEED=%d, faults for %s", seed, run)
	w := newWorld(t, seed, 2, 3)
	var players []*player
	for _, n := range w.nodes {
		for i := range 2 {
			players = append(players, w.newPlayer(n, i))
		}
	}
	had := map[string]int{}
	for round := uint64(1); run > 0 && !t.Failed(); round++ {
		// The last round ends without a backup that is put back, so that what
		// went on after one is looked at too.
		rest := min(run, roundTime)
		if run -= rest; run < shortRun/8 {
			rest, run = rest+run, 0
		}
		known := w.round(round, rest, players, had)
		if run > 0 && !t.Failed() {
			w.back(w.random(round<<16+1), players, known)
		}
	}
	t.Log(summary(w, had, players))
	if t.Failed() {
		t.Logf("replay with CHAOS_SEED=%d; the story ends with\n%s", seed, strings.Join(w.story[max(0, len(w.story)-60):], "\n"))
	}
}

// round backs the database up, has faults and acts for so long, lets everything
// heal, and looks for what is wrong. It returns what the backup knows.
func (w *world) round(number uint64, rest time.Duration, players []*player, had map[string]int) []snapshot {
	ctx, cancel := context.WithTimeout(context.Background(), rest+4*healing)
	defer cancel()
	w.together(players, func(p *player) error { return p.prepare(ctx) })
	if err := w.quiet(ctx, healing); err != nil {
		w.violation("%v", err)
	}
	known := w.backup(players)
	resting, stop := context.WithTimeout(ctx, rest)
	defer stop()
	played := make(chan struct{})
	go func() {
		defer close(played)
		w.together(players, func(p *player) error { return p.play(ctx, resting) })
	}()
	for fault, n := range w.misbehave(resting, number) {
		had[fault] += n
	}
	// One that ended because the database did while it started, as service
	// managers do.
	for _, c := range w.controllers {
		if !c.running() {
			w.tell("%s is started again", c.name)
			c.start(w.t)
		}
	}
	w.tell("healed")
	for _, p := range players {
		w.tell("%s is at: %s", p.prefix, p.doing.Load())
	}
	<-played
	w.tell("the players are done")
	w.look(players)
	return known
}

// back puts the database back and looks for what is wrong then.
func (w *world) back(r *rand.Rand, players []*player, known []snapshot) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*healing)
	defer cancel()
	if err := w.putBack(ctx, r, players, known); err != nil {
		w.violation("%v", err)
		return
	}
	w.settled(ctx, players)
	w.look(players)
}

// look lets nothing more happen and says what is wrong.
func (w *world) look(players []*player) {
	if err := w.quiet(context.Background(), healing); err != nil {
		w.violation("%v", err)
	}
	for _, wrong := range w.check(context.Background(), players) {
		w.t.Errorf("VIOLATION %s", wrong)
	}
}

// together has every player do something at the same time.
func (w *world) together(players []*player, do func(*player) error) {
	var all sync.WaitGroup
	stuck := make([]error, len(players))
	for i, p := range players {
		all.Go(func() { stuck[i] = do(p) })
	}
	all.Wait()
	for _, err := range stuck {
		if err != nil {
			w.violation("%v", err)
		}
	}
}

func summary(w *world, had map[string]int, players []*player) string {
	acts, releases, exits, kills := w.acts, 0, 0, 0
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
