package state_test

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

func open(t *testing.T, path string) *state.Dir {
	t.Helper()
	d, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// reopen is a restart of the agent.
func reopen(t *testing.T, d *state.Dir, path string) *state.Dir {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeEnrol(t *testing.T, path, token string, authority *pki.Authority) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(path, "enrol.json"), []byte(
		`{"controller":"ctl:8443","rootSha256":"`+pki.PinOf(authority.Root).String()+`","token":"`+token+`","nodeName":"n1"}`), 0o600))
}

// enrol does what an enrolment does to the folder.
func enrol(t *testing.T, d *state.Dir, authority *pki.Authority, agentID string) state.Enrolment {
	t.Helper()
	e, ok, err := d.Enrolment()
	if err != nil || !ok {
		t.Fatalf("enrolment: %v, %v", ok, err)
	}
	key, err := d.PendingKey()
	must(t, err)
	chain, err := authority.Agent(agentID, &key.PublicKey, time.Now(), time.Now().Add(time.Hour))
	must(t, err)
	must(t, d.Enrolled(e, state.Identity{
		AgentID: agentID, NodeID: "node", Controller: e.Controller, Trust: pki.NewTrust(authority.Root),
		Own: tls.Certificate{Certificate: chain},
	}))
	return e
}

func identity(t *testing.T, d *state.Dir) state.Identity {
	t.Helper()
	id, ok, err := d.Identity()
	if err != nil || !ok {
		t.Fatalf("identity: %v, %v", ok, err)
	}
	return id
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	must(t, err)
	return a
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestEnrolmentBecomesAnIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	d := open(t, path)
	if _, ok, err := d.Enrolment(); ok || err != nil {
		t.Fatalf("an empty folder has an enrolment: %v", err)
	}
	authority := newAuthority(t)
	writeEnrol(t, path, "tok", authority)

	key, err := d.PendingKey()
	must(t, err)
	d = reopen(t, d, path)
	again, err := d.PendingKey()
	must(t, err)
	if !key.Equal(again) {
		t.Fatal("the key to enrol with changed over a restart")
	}

	e := enrol(t, d, authority, "a1")
	id := identity(t, d)
	if id.AgentID != "a1" || id.Controller != "ctl:8443" || !id.Trust.Roots()[0].Equal(authority.Root) || !key.PublicKey.Equal(id.Own.Leaf.PublicKey) {
		t.Fatalf("identity %+v", id)
	}
	if !d.Answered(e, id) {
		t.Fatal("the enrolment is not recognised as answered")
	}
	if exists(filepath.Join(path, "enrol.json")) || !exists(filepath.Join(path, "enrolled")) {
		t.Fatal("the install script's file is still there, or the marker is not")
	}
	must(t, filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		must(t, err)
		info, err := entry.Info()
		must(t, err)
		if want := fs.FileMode(0o600); !entry.IsDir() && info.Mode().Perm() != want || entry.IsDir() && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", p, info.Mode().Perm())
		}
		return nil
	}))
}

func TestEnrollingAgainDropsTheOldWork(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	authority := newAuthority(t)
	writeEnrol(t, path, "one", authority)
	enrol(t, d, authority, "a1")
	must(t, d.SetAssignments(&agentv1.AssignmentSet{Lineage: "old", Generation: 7}))
	must(t, d.SetResults(map[string]*agentv1.DeploymentStatus{"shop": {Generation: 7}}))
	must(t, d.SetRevoked("gone"))

	writeEnrol(t, path, "two", newAuthority(t))
	if e, _, _ := d.Enrolment(); d.Answered(e, identity(t, d)) {
		t.Fatal("a new token is taken for the old one")
	}
	enrol(t, d, authority, "a2")
	set, err := d.Assignments()
	must(t, err)
	results, err := d.Results()
	must(t, err)
	_, revoked, err := d.Revoked()
	must(t, err)
	if identity(t, d).AgentID != "a2" || set.GetLineage() != "" || len(results) != 0 || revoked {
		t.Fatalf("kept %v, %v, revoked %v", set, results, revoked)
	}
}

func TestWorkSurvivesARestart(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	set := &agentv1.AssignmentSet{Lineage: "l", Generation: 3, Assignments: []*agentv1.Assignment{{Prefix: "shop", Generation: 2}}}
	code := int32(1)
	end := &agentv1.DeploymentStatus{
		DeploymentId: "d", Generation: 2, Release: 5, Phase: agentv1.Phase_PHASE_FAILED,
		Failure: &agentv1.Failure{Step: "pull", ExitCode: &code, LogTail: []string{"a"}, Kind: "invalid"},
	}
	must(t, d.SetAssignments(set))
	must(t, d.SetResults(map[string]*agentv1.DeploymentStatus{"shop": end}))
	must(t, d.SetRevoked("by hand"))
	d = reopen(t, d, path)
	gotSet, err := d.Assignments()
	must(t, err)
	results, err := d.Results()
	must(t, err)
	reason, ok, err := d.Revoked()
	must(t, err)
	if !proto.Equal(gotSet, set) || !proto.Equal(results["shop"], end) || !ok || reason != "by hand" {
		t.Fatalf("got %v, %v, %q", gotSet, results, reason)
	}
}

func TestACertificateOnTrial(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	authority := newAuthority(t)
	writeEnrol(t, path, "tok", authority)
	enrol(t, d, authority, "a1")
	try := func() *tls.Certificate {
		key, err := pki.NewKey()
		must(t, err)
		chain, err := authority.Agent("a1", &key.PublicKey, time.Now(), time.Now().Add(time.Hour))
		must(t, err)
		must(t, d.Try(key, chain))
		candidate, ok, err := d.Candidate()
		if err != nil || !ok {
			t.Fatalf("candidate: %v, %v", ok, err)
		}
		return &candidate
	}

	before := identity(t, d).Own.Leaf
	try()
	must(t, d.Discard())
	if _, ok, err := d.Candidate(); ok || err != nil || !identity(t, d).Own.Leaf.Equal(before) {
		t.Fatalf("after discarding: candidate %v, %v", ok, err)
	}

	candidate := try()
	must(t, d.Promote())
	if _, ok, err := d.Candidate(); ok || err != nil || !identity(t, d).Own.Leaf.Equal(candidate.Leaf) {
		t.Fatalf("after promoting: candidate %v, %v", ok, err)
	}

	candidate = try()
	// A crash between the two renames of a promotion.
	must(t, os.Rename(filepath.Join(path, "identity/key.next"), filepath.Join(path, "identity/key.pem")))
	d = reopen(t, d, path)
	if _, ok, err := d.Candidate(); ok || err != nil || !identity(t, d).Own.Leaf.Equal(candidate.Leaf) {
		t.Fatalf("after the crash: candidate %v, %v", ok, err)
	}
}

func TestOneAgentAFolder(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, err := state.Open(path); !apperr.Is(err, apperr.Conflict) {
		t.Fatalf("a second agent got the folder: %v", err)
	}
	reopen(t, d, path)
}

func TestHealth(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	until := time.Unix(2000000000, 5).UTC()
	for _, want := range []time.Time{{}, until, {}} {
		must(t, d.SetHealthyUntil(want))
		if got, err := state.HealthyUntil(path); err != nil || !got.Equal(want) {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	}
}

func FuzzEnrolment(f *testing.F) {
	f.Add([]byte(`{"controller":"ctl:8443","rootSha256":"00","token":"secret","nodeName":"n"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := t.TempDir()
		d := open(t, path)
		must(t, os.WriteFile(filepath.Join(path, "enrol.json"), content, 0o600))
		e, ok, err := d.Enrolment()
		if ok == (err != nil) || ok && (e.Token == "" || e.Controller == "") {
			t.Fatalf("enrolment %+v, ok %v, error %v", e, ok, err)
		}
		if err != nil && !apperr.Is(err, apperr.Invalid) {
			t.Fatalf("refused as %v", err)
		}
	})
}

func TestAnIdentityIsUsedOnlyOnceItIsKept(t *testing.T) {
	authority, err := pki.NewAuthority(time.Now())
	must(t, err)
	path := t.TempDir()
	writeEnrol(t, path, "token", authority)
	var away error
	var kept []bool
	d, err := state.OpenKept(path, func(identity bool) error {
		kept = append(kept, identity)
		return away
	})
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	away = errors.New("the place of copies is away")
	for range 2 { // the second time the key is there already
		if _, err := d.PendingKey(); !errors.Is(err, away) {
			t.Fatalf("PendingKey while it cannot be kept: %v", err)
		}
	}
	away = nil
	enrol(t, d, authority, "agent-1")
	before := len(kept)
	must(t, d.SetBegun(map[string]uint64{"shop": 1}))
	if len(kept) != before+1 || kept[before] {
		t.Errorf("work is kept as %v, want once and not as identity", kept[before:])
	}
}
