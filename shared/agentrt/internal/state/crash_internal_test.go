package state

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

// act is something an agent does to its folder. Look tells how the folder looks
// afterwards: before or after, anything else is broken.
type act struct {
	name          string
	arrange, do   func(w *workbench) error
	look          func(w *workbench) (string, error)
	before, after string
}

// workbench is a folder with what acts on it need.
type workbench struct {
	*Dir
	authority *pki.Authority
}

func acts() []act {
	set := func(generation uint64) *agentv1.AssignmentSet {
		return &agentv1.AssignmentSet{Lineage: strings.Repeat("l", 10_000), Generation: generation}
	}
	results := func(generation uint64) map[string]*agentv1.DeploymentStatus {
		return map[string]*agentv1.DeploymentStatus{"shop": {Generation: generation}}
	}
	held := func(w *workbench) (string, error) {
		s, err := w.Assignments()
		return fmt.Sprint(s.GetGeneration()), err
	}
	return []act{
		{"the first set", nil, func(w *workbench) error { return w.SetAssignments(set(1)) }, held, "0", "1"},
		{
			"the next set", func(w *workbench) error { return w.SetAssignments(set(1)) },
			func(w *workbench) error { return w.SetAssignments(set(2)) }, held, "1", "2",
		},
		{
			"results", func(w *workbench) error { return w.SetResults(results(1)) }, func(w *workbench) error { return w.SetResults(results(2)) },
			func(w *workbench) (string, error) {
				r, err := w.Results()
				return fmt.Sprint(r["shop"].GetGeneration()), err
			}, "1", "2",
		},
		{"revocation", nil, func(w *workbench) error { return w.SetRevoked("by hand") }, func(w *workbench) (string, error) {
			reason, _, err := w.Revoked()
			return reason, err
		}, "", "by hand"},
		{"a candidate", (*workbench).enrol, (*workbench).try, (*workbench).certificates, "own", "own and candidate"},
		{"a candidate that is dropped", both((*workbench).enrol, (*workbench).try), func(w *workbench) error { return w.Discard() }, (*workbench).certificates, "own and candidate", "own"},
		{"a candidate that is promoted", both((*workbench).enrol, (*workbench).try), func(w *workbench) error { return w.Promote() }, (*workbench).certificates, "own and candidate", "other"},
		{"an enrolment anew", both((*workbench).enrol, func(w *workbench) error { return w.SetAssignments(set(1)) }), (*workbench).enrolAnew, func(w *workbench) (string, error) {
			id, _, err := w.Identity()
			if err != nil {
				return "", err
			}
			generation, err := held(w)
			return id.AgentID + " holds " + generation, err
		}, "a1 holds 1", "a2 holds 0"},
		{"roots", (*workbench).enrol, func(w *workbench) error {
			return w.SetTrust(append(w.roots(), w.authority.Root))
		}, func(w *workbench) (string, error) {
			id, _, err := w.Identity()
			if err != nil {
				return "", err
			}
			return fmt.Sprint(len(id.Trust.Roots())), nil
		}, "1", "2"},
	}
}

func both(first, second func(*workbench) error) func(*workbench) error {
	return func(w *workbench) error {
		if err := first(w); err != nil {
			return err
		}
		return second(w)
	}
}

func (w *workbench) roots() (roots []*x509.Certificate) {
	id, _, err := w.Identity()
	if err != nil {
		return nil
	}
	return id.Trust.Roots()
}

func (w *workbench) enrol() error { return w.enrolAs("a1", "one") }

func (w *workbench) enrolAnew() error { return w.enrolAs("a2", "two") }

func (w *workbench) enrolAs(id, token string) error {
	key, err := w.PendingKey()
	if err != nil {
		return err
	}
	chain, err := w.authority.Agent(id, &key.PublicKey, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		return err
	}
	return w.Enrolled(Enrolment{Controller: "ctl:8443", Token: logging.Secret(token)}, Identity{
		AgentID: id, Controller: "ctl:8443", Trust: pki.NewTrust(w.authority.Root), Own: tls.Certificate{Certificate: chain},
	})
}

func (w *workbench) try() error {
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	chain, err := w.authority.Agent("candidate", &key.PublicKey, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		return err
	}
	return w.Try(key, chain)
}

// certificates tells which certificates there are; each must have its key.
func (w *workbench) certificates() (string, error) {
	id, _, err := w.Identity()
	if err != nil {
		return "", err
	}
	name := "own"
	if owner, err := pki.AgentID(id.Own.Leaf); err != nil || owner != "a1" {
		name = "other"
	}
	_, ok, err := w.Candidate()
	if ok {
		name += " and candidate"
	}
	return name, err
}

// prepare arranges the act in a folder of its own.
func (a act) prepare(t *testing.T, authority *pki.Authority) *workbench {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	w := &workbench{d, authority}
	t.Cleanup(func() { _ = w.Close() })
	if a.arrange != nil {
		if err := a.arrange(w); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := a.look(w); err != nil || got != a.before {
		t.Fatalf("at first %q, %v, want %q", got, err, a.before)
	}
	return w
}

// steps returns the steps of the act, which succeeds.
func (a act) steps(t *testing.T, authority *pki.Authority) (steps []string) {
	t.Helper()
	w := a.prepare(t, authority)
	w.Inject(func(step string) error {
		steps = append(steps, step)
		return nil
	})
	if err := a.do(w); err != nil {
		t.Fatal(err)
	}
	if got, err := a.look(w); err != nil || got != a.after {
		t.Fatalf("at last %q, %v, want %q", got, err, a.after)
	}
	return steps
}

// TestACrashAtAnyStepLeavesTheOldOrTheNew: the process dies before a step, and
// what was not synced yet may be cut short. The next one finds the old or the
// new, whole, and cleans up.
func TestACrashAtAnyStepLeavesTheOldOrTheNew(t *testing.T) {
	authority := newTestAuthority(t)
	for _, a := range acts() {
		t.Run(a.name, func(t *testing.T) {
			steps := a.steps(t, authority)
			for i, step := range steps {
				w := a.prepare(t, authority)
				w.crashAt(t, i, a.do)
				again, err := Open(w.path)
				if err != nil {
					t.Fatalf("before %q (%d of %d): %v", step, i, len(steps), err)
				}
				w.Dir = again
				if got, err := a.look(w); err != nil || got != a.before && got != a.after {
					t.Errorf("before %q (%d of %d): %q, %v", step, i, len(steps), got, err)
				}
				w.tidy(t)
				if err := a.do(w); err != nil { // and it can be done again
					if got, _ := a.look(w); got != a.after {
						t.Errorf("before %q (%d of %d): then again: %v", step, i, len(steps), err)
					}
				}
				_ = w.Close()
			}
		})
	}
}

// crashAt ends the process before the step of that number.
func (w *workbench) crashAt(t *testing.T, number int, do func(*workbench) error) {
	t.Helper()
	n := 0
	w.Inject(func(step string) error {
		if n == number {
			if strings.HasPrefix(step, "sync ") {
				w.loseUnsynced(t)
			}
			panic("crash")
		}
		n++
		return nil
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Errorf("step %d did not come", number)
			}
		}()
		_ = do(w)
	}()
	_ = w.Close() // as the kernel does
}

// loseUnsynced cuts files that are being written in half.
func (w *workbench) loseUnsynced(t *testing.T) {
	t.Helper()
	for _, path := range w.temporary(t) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, info.Size()/2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (w *workbench) temporary(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"", folderIdentity, folderNewIdentity} {
		paths, err := filepath.Glob(filepath.Join(w.path, pattern, tempPattern+"*"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	return found
}

func (w *workbench) tidy(t *testing.T) {
	t.Helper()
	if left := w.temporary(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestADiskThatFailsAtAnyStep: from some step on the disk is full. The act says
// so, what was there stays or the new is there, and nothing is left behind.
func TestADiskThatFailsAtAnyStep(t *testing.T) {
	authority := newTestAuthority(t)
	for _, a := range acts() {
		t.Run(a.name, func(t *testing.T) {
			for i, step := range a.steps(t, authority) {
				w := a.prepare(t, authority)
				n := 0
				w.Inject(func(string) error {
					if n++; n > i {
						return syscall.ENOSPC
					}
					return nil
				})
				if err := a.do(w); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("full at %q: the error is %v", step, err)
				}
				w.tidy(t)
				_ = w.Close()
				again, err := Open(w.path) // ends what is half done
				if err != nil {
					t.Fatal(err)
				}
				w.Dir = again
				if got, err := a.look(w); err != nil || got != a.before && got != a.after {
					t.Errorf("full at %q: %q, %v", step, got, err)
				}
				_ = w.Close()
			}
		})
	}
}

// TestOrderOfWriting: a file takes another's place only when it is on the disk,
// and it counts only when its name is.
func TestOrderOfWriting(t *testing.T) {
	got := acts()[1].steps(t, newTestAuthority(t))
	want := []string{"create assignments.pb", "write assignments.pb", "sync assignments.pb", "rename to assignments.pb", "sync the folder"}
	if !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

// TestAFolderThatCannotBeWrittenToIsOpened: what it holds is still served.
func TestAFolderThatCannotBeWrittenToIsOpened(t *testing.T) {
	a := acts()[1]
	w := a.prepare(t, newTestAuthority(t))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := open(w.path, func(string) error { return syscall.EROFS })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(w.path); err == nil {
		t.Error("it is not locked")
	}
	w.Dir = d
	if got, err := a.look(w); err != nil || got != a.before {
		t.Errorf("%q, %v", got, err)
	}
	if err := d.SetHealthyUntil(time.Now()); err == nil {
		t.Error("a write on a disk that takes none is no error")
	}
}

func newTestAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}
