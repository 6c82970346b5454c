package fleetsim_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"fairlead.dev/shared/pki"

	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/faultnet"
	"fairlead.dev/e2e/fleetsim/floor"
)

const patience = 2 * time.Minute

// onFloor returns a fleet of n agents before the least of controllers.
func onFloor(t *testing.T, n int, config fleetsim.Config) *fleetsim.Fleet {
	t.Helper()
	authority, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := floor.New(authority, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, listener) }()
	config.Controller, config.Pin = listener.Addr().String(), server.Pin()
	fleet, err := fleetsim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fleet.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := fleet.Enrol(t.Context(), make([]fleetsim.Token, n), 8); err != nil {
		t.Fatal(err)
	}
	return fleet
}

func await(t *testing.T, fleet *fleetsim.Fleet, what string, done func(fleetsim.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := fleet.Await(ctx, what, done); err != nil {
		t.Fatal(err)
	}
}

func TestAgentsConnectBeatAndReport(t *testing.T) {
	fleet := onFloor(t, 40, fleetsim.Config{Seed: 1, Engine: fleetsim.Engine{Foreign: 3}, Gather: time.Millisecond})
	fleet.EchoTimes.Reset()
	fleet.Start(t.Context())
	await(t, fleet, "echoes and acknowledged reports", func(c fleetsim.Counts) bool {
		return c.Echoed == 40 && c.Echoes >= 120 && c.ReportAcks == 40
	})
	if fleet.EchoTimes.Count() < 120 || fleet.EchoTimes.At(0.5) <= 0 || fleet.EchoTimes.At(1) < fleet.EchoTimes.At(0.5) {
		t.Errorf("%d echoes timed, median %s", fleet.EchoTimes.Count(), fleet.EchoTimes.At(0.5))
	}
	fleet.Agent(3).Report(true)
	await(t, fleet, "one more report", func(c fleetsim.Counts) bool { return c.ReportAcks >= 41 })
}

func TestKillStopAndFreeze(t *testing.T) {
	fleet := onFloor(t, 3, fleetsim.Config{Seed: 2})
	fleet.Start(t.Context())
	await(t, fleet, "all", func(c fleetsim.Counts) bool { return c.Echoed == 3 })
	fleet.Agent(0).Kill()
	if c := fleet.Counts(); c.Running != 2 || c.Connected > 2 {
		t.Errorf("after a kill: %s", c)
	}
	fleet.Agent(0).Start(t.Context())
	await(t, fleet, "the killed one again", func(c fleetsim.Counts) bool { return c.Echoed == 3 && c.Sessions >= 4 })

	fleet.Agent(1).Stop(t.Context())
	if c := fleet.Counts(); c.Running != 2 || c.Ends["left"] != 1 {
		t.Errorf("after a stop: %s", c)
	}

	fleet.Agent(2).Freeze(true)
	await(t, fleet, "the frozen one to find the controller silent", func(c fleetsim.Counts) bool { return c.Ends["the controller is silent"] >= 1 })
	fleet.Agent(2).Freeze(false)
	await(t, fleet, "the frozen one again", func(c fleetsim.Counts) bool { return c.Echoed == 2 })
}

func TestFaultsOfTheNetwork(t *testing.T) {
	fleet := onFloor(t, 4, fleetsim.Config{Seed: 3, Line: func(i int) *faultnet.Line { return faultnet.NewLine(uint64(i)) }})
	fleet.Start(t.Context())
	await(t, fleet, "all", func(c fleetsim.Counts) bool { return c.Echoed == 4 })
	if n := fleet.Agent(0).Line().Cut(); n != 1 {
		t.Errorf("%d connections cut", n)
	}
	await(t, fleet, "the cut one again", func(c fleetsim.Counts) bool { return c.Echoed == 4 && c.Sessions >= 5 })
	fleet.Agent(1).Line().Down(true)
	await(t, fleet, "attempts in vain", func(c fleetsim.Counts) bool { return c.Attempts > 7 && c.Echoed == 3 })
	fleet.Agent(1).Line().Heal()
	await(t, fleet, "the other one again", func(c fleetsim.Counts) bool { return c.Echoed == 4 })
}

func TestAFleetTrustsThePinAlone(t *testing.T) {
	fleet := onFloor(t, 1, fleetsim.Config{})
	stranger, err := fleetsim.New(fleetsim.Config{Controller: fleet.Controller(), Pin: pki.Pin{1}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := stranger.Enrol(ctx, make([]fleetsim.Token, 1), 1); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("it enrolled: %v", err)
	}
}
