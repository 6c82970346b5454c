// Command fleetsim measures the link between a controller and a simulated
// fleet of agents, and prints the figures.
//
//	fleetsim [flags]          measure; see package figures
//	fleetsim floor ...        serve the floor; fleetsim runs itself so
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/e2e/fleetsim/figures"
	"fairlead.dev/e2e/fleetsim/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fleetsim:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

// fleetGC lets the fleet use memory in place of processor time.
const fleetGC = 400

func run(ctx context.Context, args []string) (err error) {
	if len(args) > 0 && args[0] == "floor" {
		return rig.ServeFloor(ctx, args[1:])
	}
	// The fleet shares the processors with what is measured; the floor, which
	// is another process of this program, keeps the runtime's default.
	debug.SetGCPercent(fleetGC)
	flags := flag.NewFlagSet("fleetsim", flag.ContinueOnError)
	var c figures.Config
	flags.IntVar(&c.Agents, "agents", 2000, "size of the fleet")
	flags.Uint64Var(&c.Seed, "seed", uint64(time.Now().UnixNano()), "seed of everything random; a run is repeated by its seed")
	flags.StringVar(&c.Controller, "controller", "bin/controller", "the controller's program")
	flags.StringVar(&c.Artifacts, "artifacts", "bin/artifacts", "the agents' archives")
	flags.StringVar(&c.Profiles, "profiles", "", "folder for the controller's profiles; with them the figures are worse")
	flags.DurationVar(&c.Beats, "beats", 30*time.Second, "how long heartbeats are measured")
	flags.DurationVar(&c.Loss, "loss", 2*time.Minute, "how long the lossy network is measured")
	out := flags.String("out", "", "file that the figures are written to besides standard output")
	only := flags.String("only", "", "parts to measure, separated by commas: "+strings.Join(figures.Parts(), ", "))
	verbose := flags.Bool("v", false, "say more on standard error")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *only != "" {
		c.Only = strings.Split(*only, ",")
	}
	c.Out, c.Log = os.Stdout, slog.New(slog.DiscardHandler)
	if *out != "" {
		file, err := os.Create(*out)
		if err != nil {
			return fmt.Errorf("keep the figures: %w", err)
		}
		defer func() { _ = file.Close() }() // written to unbuffered
		c.Out = io.MultiWriter(os.Stdout, file)
	}
	if c.Profiles != "" {
		if err := os.MkdirAll(c.Profiles, 0o750); err != nil {
			return fmt.Errorf("keep the profiles: %w", err)
		}
	}
	if *verbose {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if c.Self, err = os.Executable(); err != nil {
		return err
	}
	for _, path := range []*string{&c.Controller, &c.Artifacts} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if c.Dir, err = os.MkdirTemp("/tmp", "fleetsim-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
	if err := os.Chmod(c.Dir, 0o711); err != nil { //nolint:gosec // PostgreSQL's account must get through
		return err
	}
	fmt.Fprintf(os.Stderr, "fleetsim: %d agents, seed %d\n", c.Agents, c.Seed)
	return figures.Run(ctx, c)
}
