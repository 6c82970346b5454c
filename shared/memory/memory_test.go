package memory_test

import (
	"runtime"
	"testing"
	"time"

	"fairlead.dev/shared/memory"
)

const mib = 1 << 20

func TestWhatABurstLeftIsGivenBackWhenItIsOver(t *testing.T) {
	now := memory.Usage{Live: 200 * mib, Objects: 200 * mib, Allocated: 1 << 30}
	collected := 0
	k := memory.New(memory.Options{Period: 5 * time.Second, Calm: 0.02, Worth: 16 * mib})
	k.Read = func() memory.Usage { return now }
	k.Collect = func() {
		collected++
		now.Live, now.Objects, now.Free = 200*mib, 200*mib, 0
	}
	look := func(what string, allocated uint64, want int) {
		t.Helper()
		now.Allocated += allocated
		now.Objects += allocated
		k.Look()
		if collected != want {
			t.Fatalf("%s: collected %d times, want %d", what, collected, want)
		}
	}
	look("the first look", 0, 0)
	look("in the burst", 150*mib, 0)
	look("after it", mib, 1)
	look("with nothing to gain", mib, 1)
	for range 40 { // what heartbeats leave
		look("heartbeats", mib, 1)
	}
	now.Objects, now.Free = now.Live, 100*mib
	look("with freed memory that is kept", mib, 2)

	now = memory.Usage{Live: 4 * mib, Objects: 10 * mib, Allocated: now.Allocated}
	k.Look()
	look("a small heap", 0, 2)
}

// What is worth giving back depends on the process: an agent holds little.
func TestASmallProcessGivesBackLess(t *testing.T) {
	now := memory.Usage{Live: 4 * mib, Objects: 5 * mib, Free: 2 * mib, Allocated: 1 << 30}
	collected := 0
	k := memory.New(memory.Options{Period: 15 * time.Second, Calm: 1, Worth: mib})
	k.Read = func() memory.Usage { return now }
	k.Collect = func() { collected++ }
	k.Look()
	now.Allocated += 10 * mib // of a list of containers
	if k.Look(); collected != 1 {
		t.Errorf("collected %d times, want once", collected)
	}
	now.Objects, now.Free = 4*mib, mib
	if k.Look(); collected != 1 {
		t.Error("collected with little to gain")
	}
}

// What is answered by the thousand allocates little, and would wait for the
// collection all the same.
func TestABusyProcessDoesNotCollect(t *testing.T) {
	now := memory.Usage{Live: 200 * mib, Objects: 400 * mib, Allocated: 1 << 30}
	collected := 0
	k := memory.New(memory.Options{Period: 5 * time.Second, Calm: 0.02, Busy: 0.1, Worth: 16 * mib})
	k.Read = func() memory.Usage { return now }
	k.Collect = func() { collected++ }
	k.Look()
	now.Allocated += mib
	now.Processors += 5 * time.Second * time.Duration(runtime.GOMAXPROCS(0)) / 4
	if k.Look(); collected != 0 {
		t.Fatal("collected while a quarter of the processors was used")
	}
	now.Allocated += mib
	now.Processors += 5 * time.Second * time.Duration(runtime.GOMAXPROCS(0)) / 20
	if k.Look(); collected != 1 {
		t.Errorf("collected %d times in the calm after it, want once", collected)
	}
}

// Pages of the program's file come back with each burst, however little that
// allocated.
func TestTheProgramIsLetGoOfInEachCalm(t *testing.T) {
	now := memory.Usage{Live: 4 * mib, Objects: 4 * mib, Allocated: 1 << 30}
	forgotten := 0
	k := memory.New(memory.Options{Period: 15 * time.Second, Calm: 1, Worth: mib, Program: true})
	k.Read = func() memory.Usage { return now }
	k.Collect = func() { t.Error("collected with nothing to gain") }
	k.Forget = func() { forgotten++ }
	k.Look()
	now.Allocated += 100 * mib
	if k.Look(); forgotten != 0 {
		t.Fatal("let go of in a burst")
	}
	for range 2 {
		now.Allocated += mib
		k.Look()
	}
	if forgotten != 2 {
		t.Errorf("let go of %d times in two calm looks", forgotten)
	}
}

func TestTheRuntimeTellsWhatIsHeld(t *testing.T) {
	u := memory.New(memory.Options{}).Read()
	if u.Objects == 0 || u.Allocated == 0 || u.Processors == 0 {
		t.Errorf("read %+v", u)
	}
}
