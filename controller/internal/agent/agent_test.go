package agent_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"database/sql"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

type world struct {
	*agent.Service
	db *postgres.DB
	// sql looks and changes behind the service's back.
	sql   *sql.DB
	clock time.Time
	// key is the one the last enrolment was made with.
	key    *ecdsa.PublicKey
	teamID uuid.UUID
	nodeID uuid.UUID
}

func setUp(t *testing.T) *world {
	t.Helper()
	dsn := pgtest.NewDSN(t)
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	behind, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(db.Close(), behind.Close()) })
	w := &world{db: db, sql: behind, clock: time.Now().UTC().Truncate(time.Microsecond)}
	authority, err := pki.NewAuthority(w.clock)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return w.clock }
	w.Service = agent.New(agent.Config{
		Store: w.db, Authority: authority, Audit: audit.New(w.db, now), Now: now,
		Replica: agent.Replica{ID: uuid.New(), Name: "one", Address: "one:8443", StartedAt: w.clock},
	})
	if err := w.Register(t.Context()); err != nil {
		t.Fatal(err)
	}

	owner := uuid.New()
	w.teamID, w.nodeID = uuid.New(), uuid.New()
	err = errors.Join(
		w.db.InsertUser(t.Context(), user.User{ID: owner, Email: "a@b.co", Name: "a", CreatedAt: w.clock}),
		w.db.InsertTeam(t.Context(), team.Team{ID: w.teamID, Name: "Acme", Slug: "acme", CreatedAt: w.clock}, owner),
		w.db.InsertNode(t.Context(), node.Node{ID: w.nodeID, TeamID: w.teamID, Name: "one", Type: node.Docker, CreatedAt: w.clock, UpdatedAt: w.clock}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// token makes an enrolment token for the node that lasts ten minutes.
func (w *world) token(t *testing.T) string {
	t.Helper()
	token := "fle_" + uuid.NewString()
	err := w.db.ReplaceInstallation(t.Context(), node.Installation{
		ID: uuid.New(), NodeID: w.nodeID, TokenHash: node.TokenHash(token), Script: []byte("sealed"),
		ExpiresAt: w.clock.Add(10 * time.Minute), CreatedAt: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *world) enrolCommand(t *testing.T, token string) agent.EnrolCommand {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w.key = &key.PublicKey
	return agent.EnrolCommand{Token: token, Key: &key.PublicKey, Info: agent.Info{NodeType: "docker"}}
}

func (w *world) enrol(t *testing.T) agent.Enrolment {
	t.Helper()
	e, err := w.Enrol(t.Context(), w.enrolCommand(t, w.token(t)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) open(t *testing.T, agentID uuid.UUID, boot string) agent.Session {
	t.Helper()
	s, err := w.Open(t.Context(), agent.OpenCommand{AgentID: agentID, Key: w.key, BootID: boot}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func reason(err error) string {
	var e *apperr.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func TestExpiredTokenLeavesTheOldAgentAlone(t *testing.T) {
	w := setUp(t)
	old := w.enrol(t)
	oldKey := w.key
	token := w.token(t)
	w.clock = w.clock.Add(10 * time.Minute)
	_, err := w.Enrol(t.Context(), w.enrolCommand(t, token))
	w.key = oldKey
	if !apperr.Is(err, apperr.Unauthenticated) || reason(err) != agent.ReasonTokenExpired {
		t.Errorf("got %v (%s), want token expired", err, reason(err))
	}
	w.open(t, old.AgentID, "boot")
}

func TestAskingAgainWithTheSameKeyAnswersTheSameAgent(t *testing.T) {
	w := setUp(t)
	cmd := w.enrolCommand(t, w.token(t))
	first, err := w.Enrol(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Enrol(t.Context(), cmd)
	if err != nil || again.AgentID != first.AgentID || again.NodeID != w.nodeID {
		t.Errorf("asked again: %+v, %v; want agent %s", again, err, first.AgentID)
	}
	other := w.enrolCommand(t, cmd.Token)
	if _, err := w.Enrol(t.Context(), other); reason(err) != agent.ReasonTokenUsed {
		t.Errorf("another key: %v, want token used", err)
	}
	w.clock = w.clock.Add(time.Hour)
	if _, err := w.Enrol(t.Context(), cmd); reason(err) != agent.ReasonTokenUsed {
		t.Errorf("after the token's time: %v, want token used", err)
	}
}

func TestAgentOfAnotherKindIsRefusedAndKeepsTheToken(t *testing.T) {
	w := setUp(t)
	cmd := w.enrolCommand(t, w.token(t))
	cmd.Info.NodeType = "k8s"
	if _, err := w.Enrol(t.Context(), cmd); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("got %v, want invalid", err)
	}
	cmd.Info.NodeType = "docker"
	if _, err := w.Enrol(t.Context(), cmd); err != nil {
		t.Errorf("the token was lost: %v", err)
	}
}

func TestEnrollingANodeAnewRevokesItsOldAgent(t *testing.T) {
	w := setUp(t)
	old := w.enrol(t)
	oldKey := w.key
	session := w.open(t, old.AgentID, "boot")
	w.enrol(t)
	if _, err := w.Open(t.Context(), agent.OpenCommand{AgentID: old.AgentID, Key: oldKey, BootID: "boot"}, nil); reason(err) != agent.ReasonRevoked {
		t.Errorf("the old agent opens a session: %v", err)
	}
	if err := w.Holds(t.Context(), session); reason(err) != agent.ReasonRevoked {
		t.Errorf("its open session holds: %v", err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Renew(t.Context(), old.AgentID, &key.PublicKey); reason(err) != agent.ReasonRevoked {
		t.Errorf("it renews its certificate: %v", err)
	}
}

func TestASessionGoesOnWhereItsBootWas(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	first := w.open(t, e.AgentID, "boot-1")
	err := w.db.AdvanceReporters(t.Context(), []report.Advance{{
		AgentID: e.AgentID, NodeID: w.nodeID, Reporter: report.Reporter{Epoch: first.Epoch, Sequence: 2},
	}}, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	second := w.open(t, e.AgentID, "boot-1")
	if second.StatusSequence != 2 || second.Epoch <= first.Epoch {
		t.Errorf("second session is %+v after %+v", second, first)
	}
	// Another boot counts anew.
	if third := w.open(t, e.AgentID, "boot-2"); third.StatusSequence != 0 {
		t.Errorf("a new boot begins at %d", third.StatusSequence)
	}
}

func TestALateGoodbyeDoesNotEndTheNewSession(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	old := w.open(t, e.AgentID, "boot")
	w.open(t, e.AgentID, "boot")
	if err := w.Close(t.Context(), old, agent.End{Goodbye: true}); err != nil {
		t.Fatal(err)
	}
	ctx := actor.WithTeam(t.Context(), actor.Team{ID: w.teamID})
	n, err := w.db.FindNode(ctx, w.teamID, w.nodeID)
	if err != nil || !n.Agent.Connected {
		t.Errorf("the node is %+v, %v; want connected", n.Agent, err)
	}
}

func newKey(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func TestAgentRecoversAfterALongAbsenceWithItsKeyOnly(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	w.open(t, e.AgentID, "boot")
	w.clock = w.clock.Add(200 * 24 * time.Hour)
	chain, err := w.Recover(t.Context(), e.AgentID, w.key, agent.Info{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil || !w.key.Equal(leaf.PublicKey) || !leaf.NotAfter.After(w.clock) || leaf.URIs[0].String() != pki.AgentURI(e.AgentID.String()).String() {
		t.Errorf("recovered %+v, %v", leaf, err)
	}
	if _, err := w.Recover(t.Context(), e.AgentID, newKey(t), agent.Info{}); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("with another key: %v, want unauthenticated", err)
	}
	if _, err := w.Recover(t.Context(), uuid.New(), w.key, agent.Info{}); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("as another agent: %v, want unauthenticated", err)
	}
	events, _, err := w.db.ListNodeEvents(t.Context(), w.nodeID, node.EventQuery{To: w.clock, Take: 10})
	if err != nil || len(events) == 0 || events[0].Event != "recovered" {
		t.Errorf("the node's history is %+v, %v; want recovered", events, err)
	}
	if _, err := w.db.RevokeAgent(t.Context(), w.nodeID, w.clock); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recover(t.Context(), e.AgentID, w.key, agent.Info{}); reason(err) != agent.ReasonRevoked {
		t.Errorf("revoked: %v, want revoked", err)
	}
}

func TestARenewedKeyCountsOnceItWasUsed(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	old, renewed := w.key, newKey(t)
	w.open(t, e.AgentID, "boot")
	if _, err := w.Renew(t.Context(), e.AgentID, renewed); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recover(t.Context(), e.AgentID, old, agent.Info{}); err != nil {
		t.Errorf("before the new key was used, the old one: %v", err)
	}
	w.key = renewed
	w.open(t, e.AgentID, "boot")
	if _, err := w.Recover(t.Context(), e.AgentID, renewed, agent.Info{}); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := w.Recover(t.Context(), e.AgentID, old, agent.Info{}); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("after the new key was used, the old one: %v", err)
	}
}
