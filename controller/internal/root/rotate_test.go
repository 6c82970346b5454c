package root_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/root"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload/workloadtest"
)

// site is a controller, and an operator at its command line.
type site struct {
	*controllertest.Controller
	*root.Service
	admin *controllertest.Client
	ring  *keys.Roots
	db    *postgres.DB
}

func newSite(t *testing.T) *site {
	t.Helper()
	c := controllertest.New(t)
	s := &site{Controller: c, admin: c.Admin(t)}
	s.admin.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	var err error
	if s.ring, err = keys.OpenRoots(filepath.Join(c.StateDir, "keys"), time.Now); err != nil {
		t.Fatal(err)
	}
	if s.db, err = postgres.Open(t.Context(), postgres.Config{DSN: c.DSN, Log: controllertest.Logger(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	s.Service = root.New(root.Config{Ring: s.ring, Store: s.db, Audit: audit.New(s.db, time.Now), Now: time.Now, Seen: time.Hour, Issued: agent.CertificateLifetime})
	return s
}

// node is one of the site's, with the folder of its agent.
type node struct {
	*controllertest.Agent
	site     *site
	name, id string
	dir      string
}

// install makes a node and starts an agent on it.
func (s *site) install(t *testing.T, name string) *node {
	t.Helper()
	id := s.admin.Post("/api/acme/nodes", map[string]any{"name": name}).Expect(t, http.StatusCreated).String(t, "id")
	e := s.admin.Install(t, "acme", id)
	if e.RootSHA256 != s.ring.Pin() {
		t.Errorf("the script pins %s, the root that signs is %s", e.RootSHA256, s.ring.Pin())
	}
	n := &node{site: s, name: name, id: id, dir: t.TempDir()}
	n.Agent = controllertest.StartAgent(t, n.dir, &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	n.await(t, "connected")
	return n
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.Agent = controllertest.StartAgent(t, n.dir, nil, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) await(t *testing.T, liveness string) {
	t.Helper()
	controllertest.Await(t, n.name+" is "+liveness, func() (bool, string) {
		seen := n.site.admin.Get("/api/acme/nodes/"+n.id).Expect(t, http.StatusOK)
		return seen.String(t, "liveness") == liveness, string(seen.Body)
	})
}

// trusts are the roots on the agent's disk, and the digest of the root that
// signed its certificate.
func (n *node) trusts(t *testing.T) (pins []string, signed string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "identity", "trust.pem"))
	if os.IsNotExist(err) {
		text, err = os.ReadFile(filepath.Join(n.dir, "identity", "root.pem"))
	}
	if err != nil {
		t.Fatal(err)
	}
	roots, err := pki.DecodeCertificates(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roots {
		pins = append(pins, pki.PinOf(r).String())
	}
	text, err = os.ReadFile(filepath.Join(n.dir, "identity", "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := pki.DecodeCertificates(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range n.site.ring.Accepted() {
		if own[0].CheckSignatureFrom(r) == nil {
			signed = pki.PinOf(r).String()
		}
	}
	return pins, signed
}

func (n *node) awaitTrust(t *testing.T, want ...string) {
	t.Helper()
	controllertest.Await(t, fmt.Sprintf("%s trusts %v", n.name, want), func() (bool, string) {
		pins, _ := n.trusts(t)
		return strings.Join(pins, " ") == strings.Join(want, " "), strings.Join(pins, " ")
	})
}

// awaitCount waits until the controller knows that so many agents trust a root.
func (s *site) awaitCount(t *testing.T, sha256 string, trusted, agents int) {
	t.Helper()
	controllertest.Await(t, fmt.Sprintf("%d of %d agents trust %.8s", trusted, agents, sha256), func() (bool, string) {
		c, err := s.db.CountTrust(t.Context(), sha256, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return c == root.Count{Agents: agents, Trusted: trusted}, fmt.Sprintf("%+v", c)
	})
}

// shown is the root of the certificate that the listener shows to who trusts
// these.
func (s *site) shown(t *testing.T, trusted ...*x509.Certificate) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := pki.AgentTLS(pki.NewTrust(trusted...), tls.Certificate{}, time.Now)
	config.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.AgentAddr)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	return pki.PinOf(chain[len(chain)-1]).String()
}

// TestARootIsReplacedWithoutAFlagDay goes through a whole rotation with agents
// that are there, that come, that were away for all of it, and with restarts in
// the middle.
func TestARootIsReplacedWithoutAFlagDay(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	old := s.ring.Pin()
	oldRoot := s.ring.Accepted()[0]
	here, away, gone := s.install(t, "here"), s.install(t, "away"), s.install(t, "gone")
	s.awaitCount(t, old, 3, 3)
	away.stop(t)
	gone.stop(t)

	// Prepared: who is there learns it at once, without a restart of anything.
	next, err := s.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(t.Context()); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("a second next root: %v", err)
	}
	here.awaitTrust(t, old, next.SHA256)
	s.awaitCount(t, next.SHA256, 1, 3)
	if got := s.shown(t, oldRoot, s.ring.Accepted()[1]); got != old {
		t.Errorf("before its time, the root %s is shown", got)
	}

	// Not promoted while agents that were there lately do not trust it.
	if _, err := s.Promote(ctx, false); !apperr.Is(err, apperr.Precondition) || !strings.Contains(err.Error(), "acme/away") {
		t.Errorf("promoted too early: %v", err)
	}
	list, err := s.List(ctx)
	if err != nil || len(list) != 2 || list[1].All != (root.Count{Agents: 3, Trusted: 1}) || !strings.Contains(root.Names(list[1]), "acme/gone") {
		t.Errorf("progress %+v, %v", list, err)
	}

	// Both restart in the middle and go on.
	s.Stop()
	here.stop(t)
	s.Restart(t)
	here.start(t)
	here.await(t, "connected")
	here.awaitTrust(t, old, next.SHA256)

	// One comes back in time, the other is given up for the moment.
	away.start(t)
	away.await(t, "connected")
	away.awaitTrust(t, old, next.SHA256)
	s.awaitCount(t, next.SHA256, 2, 3)
	away.stop(t)
	if _, err := s.Promote(ctx, true); err != nil {
		t.Fatal(err)
	}
	nextRoot := s.ring.Accepted()[1]
	controllertest.Await(t, "the listener shows the new root to who trusts it", func() (bool, string) {
		got := s.shown(t, oldRoot, nextRoot)
		return got == next.SHA256, got
	})
	if got := s.shown(t, oldRoot); got != old {
		t.Errorf("who trusts the old root alone is shown %s", got)
	}

	// New nodes are of the new root; they need not know the old one.
	fresh := s.install(t, "fresh")
	if _, signed := fresh.trusts(t); signed != next.SHA256 {
		t.Errorf("a new node's certificate is signed by %s", signed)
	}
	here.stop(t)
	here.start(t)
	here.await(t, "connected")

	// Who was away for all of it comes back by the old root and learns the new.
	gone.start(t)
	gone.await(t, "connected")
	gone.awaitTrust(t, old, next.SHA256)
	s.awaitCount(t, next.SHA256, 4, 4)
	gone.stop(t)

	// The old root can't go while certificates of it are good.
	if _, err := s.Retire(ctx, old[:8], false); !apperr.Is(err, apperr.Precondition) || !strings.Contains(err.Error(), "are good until") {
		t.Errorf("retired too early: %v", err)
	}
	if _, err := s.Retire(ctx, next.SHA256, true); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("the root that signs was retired: %v", err)
	}
	// By force: sessions of its certificates end, and their agents ask for
	// others by themselves.
	if _, signed := here.trusts(t); signed != old {
		t.Fatalf("the certificate is signed by %s", signed)
	}
	if _, err := s.Retire(ctx, old[:8], true); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{here, fresh} {
		n.awaitTrust(t, next.SHA256)
	}
	controllertest.Await(t, "the certificate is signed by the new root", func() (bool, string) {
		_, signed := here.trusts(t)
		return signed == next.SHA256, signed
	})
	here.await(t, "connected")
	// away and gone were told before they left.
	away.start(t)
	away.await(t, "connected")
	away.awaitTrust(t, next.SHA256)
	s.awaitCount(t, old, 1, 4) // gone, which is away, said so last
	if got := s.shown(t, oldRoot); !strings.Contains(got, "does not prove a controller") {
		t.Errorf("who trusts the old root alone is shown %s", got)
	}
	entries, err := filepath.Glob(filepath.Join(s.StateDir, "keys", "root*.key"))
	if err != nil || len(entries) != 1 {
		t.Errorf("keys that are left: %v, %v", entries, err)
	}
}

// TestWhoMissedItAllIsToldSo has an agent that was away until its root was
// retired: it stays out, and its way back is a new install script.
func TestWhoMissedItAllIsToldSo(t *testing.T) {
	s := newSite(t)
	old := s.ring.Pin()
	late := s.install(t, "late")
	s.awaitCount(t, old, 1, 1)
	late.stop(t)
	if _, err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nobody was seen in the last zero seconds: nobody is waited for.
	s.Seen, s.Issued = 0, 0
	if _, err := s.Promote(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retire(t.Context(), old, false); err != nil {
		t.Fatal(err)
	}
	want := []string{"root.prepare " + s.ring.Pin() + " false", "root.promote " + s.ring.Pin() + " false", "root.retire " + old + " false"}
	if got := s.audited(t); !slices.Equal(got, want) {
		t.Errorf("the audit log tells of %q, want %q", got, want)
	}
	controllertest.Await(t, "the controller has one root", func() (bool, string) {
		got := s.shown(t, s.ring.Accepted()...)
		return got == s.ring.Pin(), got
	})
	late.start(t)
	controllertest.Await(t, "the agent says what is wrong", func() (bool, string) {
		text, err := os.ReadFile(filepath.Join(late.dir, "trouble"))
		return err == nil && strings.Contains(string(text), "make a new install script"), string(text)
	})
	late.stop(t)
	e := s.admin.Install(t, "acme", late.id)
	late.Agent = controllertest.StartAgent(t, late.dir, &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	late.await(t, "connected")
	late.awaitTrust(t, s.ring.Pin())
}

// TestANextRootCanBeGivenUp takes a prepared root back.
func TestANextRootCanBeGivenUp(t *testing.T) {
	s := newSite(t)
	n := s.install(t, "one")
	next, err := s.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.awaitTrust(t, s.ring.Pin(), next.SHA256)
	if _, err := s.Retire(t.Context(), next.SHA256[:12], false); err != nil {
		t.Fatal(err)
	}
	n.awaitTrust(t, s.ring.Pin())
	n.await(t, "connected")
	if _, err := s.Promote(t.Context(), true); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("promoted what is not there: %v", err)
	}
	// What was done is written down; what was refused was not done.
	want := []string{"root.prepare " + next.SHA256 + " false", "root.retire " + next.SHA256 + " false"}
	if got := s.audited(t); !slices.Equal(got, want) {
		t.Errorf("the audit log tells of %q, want %q", got, want)
	}
}

// audited returns the steps that the audit log tells of.
func (s *site) audited(t *testing.T) (steps []string) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	rows, err := db.Query(t.Context(), `select event || ' ' || (data::jsonb ->> 'sha256') || ' ' || (data::jsonb ->> 'force')
		from audit_log where event like 'root.%' order by id`)
	if err != nil {
		t.Fatal(err)
	}
	steps, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return steps
}
