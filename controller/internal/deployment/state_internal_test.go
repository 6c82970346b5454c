package deployment

import "testing"

func TestWhatEachStateAllows(t *testing.T) {
	type allowed struct{ edit, start bool }
	tests := map[State]struct{ rolling, incremental allowed }{
		Preparing:  {allowed{true, true}, allowed{true, true}},
		InProgress: {allowed{false, true}, allowed{false, true}},
		Successful: {allowed{true, true}, allowed{false, false}},
		Failed:     {allowed{true, true}, allowed{true, true}},
		Obsolete:   {allowed{true, true}, allowed{false, true}},
		Downgraded: {allowed{false, false}, allowed{false, false}},
	}
	for _, state := range States() {
		for kind, want := range map[string]allowed{"rolling": tests[state].rolling, "incremental": tests[state].incremental} {
			d := Deployment{State: state, Version: Ref{Type: kind}}
			if got := (allowed{d.Editable(), d.Startable()}); got != want {
				t.Errorf("%s of a %s version allows %+v, want %+v", state, kind, got, want)
			}
			if d.Startable() && !state.canBecome(InProgress) {
				t.Errorf("%s is startable but can't become in progress", state)
			}
		}
	}
}

func TestTransitions(t *testing.T) {
	want := map[State]map[State]bool{
		Preparing:  {InProgress: true},
		InProgress: {InProgress: true, Successful: true, Failed: true, Obsolete: true, Downgraded: true},
		Successful: {InProgress: true, Obsolete: true, Downgraded: true},
		Failed:     {InProgress: true, Obsolete: true, Downgraded: true},
		Obsolete:   {InProgress: true, Downgraded: true},
		Downgraded: {Obsolete: true},
	}
	for _, from := range States() {
		for _, to := range States() {
			if got := from.canBecome(to); got != want[from][to] {
				t.Errorf("%s can become %s: %v, want %v", from, to, got, want[from][to])
			}
		}
	}
}
