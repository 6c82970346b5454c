package memory_test

import (
	"testing"

	"fairlead.dev/controller/internal/memory"
)

const mib = 1 << 20

func TestWhatABurstLeftIsGivenBackWhenItIsOver(t *testing.T) {
	now := memory.Usage{Live: 200 * mib, Objects: 200 * mib, Allocated: 1 << 30}
	collected := 0
	k := memory.New()
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

func TestTheRuntimeTellsWhatIsHeld(t *testing.T) {
	u := memory.New().Read()
	if u.Objects == 0 || u.Allocated == 0 {
		t.Errorf("read %+v", u)
	}
}
