// Package figures measures the link between a controller and a fleet, beside
// the least that such a controller could be, and prints what it finds: one
// figure a line, with tabs between name, value, unit, floor and their ratio. A
// floor of "-" means that there is none, or that it is not known in this run.
//
// Both are processes of their own on this machine, and the fleet is in this
// process: they share its processors, so that rates are lower bounds and
// ratios count.
package figures

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"time"

	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/rig"
)

// Config says what to measure.
type Config struct {
	// Agents is the size of the fleet.
	Agents int
	Seed   uint64
	// Controller is the program; Artifacts the folder with agents' archives.
	Controller, Artifacts string
	// Self is this program, which serves the floor.
	Self string
	// Dir is an empty folder that PostgreSQL's account can reach.
	Dir string
	Out io.Writer
	Log *slog.Logger
	// Profiles is a folder for the controller's profiles; "" for none.
	Profiles string
	// Only names the parts to measure; all when empty. See Parts.
	Only []string
	// Beats, Loss are how long heartbeats are measured, and false alarms on a
	// lossy network.
	Beats, Loss time.Duration
}

// Parts are the names that Config.Only may hold, in their order. The fleet is
// enrolled and connected in any case.
func Parts() []string {
	return []string{"floor", "race", "rest", "beats", "status", "starts", "replicas", "revision", "lost", "storm", "loss"}
}

const (
	// heartbeat is the period that the controller asks its agents for; the floor
	// asks for the same.
	heartbeat = 6 * time.Second
	// containers each node reports when it is warm.
	containers = 10
	warmUp     = 20
	fullFleet  = 10_000
	parallel   = 64
	// gather is short, so that the fleet is not what bounds the reports.
	gather = 2 * time.Millisecond
	// settle is what timers and buffers get to come to rest.
	settle = 3 * time.Second
)

// bench is one run.
type bench struct {
	Config
	postgres   *rig.PostgreSQL
	controller *rig.Controller
	floor      side // what was measured of it
	product    side
	world      *world
	// taken are the figures that were printed, by name.
	taken map[string]figure
}

// side is the floor or the controller, and what was measured of it.
type side struct {
	name    string
	log     *slog.Logger
	process func() *rig.Process
	// launch and ready start the process again after it was killed.
	launch func() error
	ready  func(ctx context.Context) error
	fleet  *fleetsim.Fleet
	// base is the memory of the process with nobody connected.
	base int64

	enrolRate, connect, connectCPU, rest, warm, goroutines float64
	beatCPU, beatAllocs, reportRate, storm, stormPeak      float64
	attempts, beatRate, heap, stack, reportCPU             float64
	revision, revisionCPU                                  float64
	reportAck                                              time.Duration
	// sustained is by the names of rates.
	sustained map[string]lasting
}

// Run measures. What it starts ends with it.
func Run(ctx context.Context, c Config) (err error) {
	for _, part := range c.Only {
		if !slices.Contains(Parts(), part) {
			return fmt.Errorf("no such part: %s; there are %v", part, Parts())
		}
	}
	b := &bench{Config: c, taken: map[string]figure{}}
	if err := b.measureFloor(ctx); err != nil {
		return fmt.Errorf("measure the floor: %w", err)
	}
	defer func() { err = errors.Join(err, b.end()) }()
	if err := b.begin(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(ctx context.Context) error
	}{
		{"race", b.race}, {"", b.enrolAndConnect}, {"rest", b.atRest}, {"beats", b.beats}, {"status", b.status},
		{"starts", b.starts}, {"replicas", b.replicas}, {"revision", b.revision}, {"lost", b.lost}, {"storm", b.storm}, {"loss", b.loss},
	} {
		if !b.wanted(part.name) {
			continue
		}
		b.Log.Info("measuring", "part", part.name)
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("measure %s: %w\n%s", part.name, err, b.controller.Tail())
		}
	}
	b.judge()
	return nil
}

func (b *bench) wanted(part string) bool {
	return part == "" || len(b.Only) == 0 || slices.Contains(b.Only, part)
}

// beat is the period at which the fleet beats as often as ten thousand agents
// do, for what a heartbeat costs depends on how many there are a second; 0 for
// the one that is asked for, where that is not measured: agents that beat more
// often are not so soon thought away.
func (b *bench) beat() time.Duration {
	if b.Agents >= fullFleet || !b.wanted("beats") {
		return 0
	}
	return max(heartbeat*time.Duration(b.Agents)/fullFleet, 100*time.Millisecond)
}

// print prints a figure; floor is 0 when there is none.
func (b *bench) print(name string, value float64, unit string, floor float64) {
	peer, ratio := "-", "-"
	if floor > 0 {
		peer, ratio = fmt.Sprintf("%.4g", floor), fmt.Sprintf("%.2f", value/floor)
	}
	b.taken[name] = figure{value, unit, floor}
	// Standard output: there is nobody to tell when it is closed.
	_, _ = fmt.Fprintf(b.Out, "%s\t%.4g\t%s\t%s\t%s\n", name, value, unit, peer, ratio)
}

// begin starts PostgreSQL and the controller.
func (b *bench) begin(ctx context.Context) (err error) {
	var settings []string
	if b.Profiles != "" {
		settings = []string{"auto_explain.log_min_duration=20"}
	}
	if b.postgres, err = rig.NewPostgreSQL(ctx, filepath.Join(b.Dir, "postgres"), settings...); err != nil {
		return err
	}
	b.controller, err = rig.NewController(ctx, rig.ControllerConfig{
		Program: b.Controller, Artifacts: b.Artifacts, Dir: b.Dir, DatabaseURL: b.postgres.URL(), LogLevel: "warn",
	})
	if err != nil {
		return err
	}
	b.product = side{
		name: "controller", log: b.Log, process: func() *rig.Process { return b.controller.Process },
		launch: b.controller.Launch, ready: b.controller.Ready,
	}
	return nil
}

func (b *bench) end() error {
	if b.product.fleet != nil {
		b.product.fleet.Close()
	}
	var errs []error
	if b.controller != nil && b.controller.Process != nil {
		errs = append(errs, b.controller.Stop())
	}
	if b.postgres != nil && b.postgres.Process != nil {
		errs = append(errs, b.postgres.Stop())
		if b.Profiles != "" { // with the plans of slow statements
			errs = append(errs, os.Rename(b.postgres.Log(), filepath.Join(b.Profiles, "postgres.log")))
		}
	}
	return errors.Join(errs...)
}

// profile writes a profile of the controller.
func (b *bench) profile(ctx context.Context, what, name string) {
	if b.Profiles == "" {
		return
	}
	if err := b.controller.Profile(ctx, what, filepath.Join(b.Profiles, name+".pb.gz")); err != nil {
		b.Log.Warn("no profile", "name", name, "error", err)
	}
}

// during takes a profile of the processor while something runs.
func (b *bench) during(ctx context.Context, name string, run func() error) error {
	if b.Profiles == "" {
		return run()
	}
	if err := b.postgres.Forget(ctx); err != nil {
		return err
	}
	// The fleet's own: it shares the processors with what is measured.
	own, err := os.Create(filepath.Join(b.Profiles, name+"-fleet-cpu.pb.gz"))
	if err != nil {
		return fmt.Errorf("keep the fleet's profile: %w", err)
	}
	if err := pprof.StartCPUProfile(own); err != nil {
		return errors.Join(err, own.Close())
	}
	profiled := make(chan struct{})
	go func() {
		defer close(profiled)
		b.profile(ctx, "profile?seconds=10", name+"-cpu")
	}()
	err = run()
	pprof.StopCPUProfile()
	<-profiled
	err = errors.Join(err, own.Close())
	top, topErr := b.postgres.Top(ctx, 12)
	for _, line := range top {
		b.Log.Info("sql", "during", name, "statement", line)
	}
	return errors.Join(err, topErr)
}

// within bounds what is waited for.
func within(ctx context.Context, d time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
