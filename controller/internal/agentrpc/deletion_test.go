package agentrpc_test

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload/workloadtest"
)

// goes has an agent end when its node was deleted, as those do that can take
// themselves away.
func goes(c *agentrt.Config) {
	c.Depart = func(context.Context, bool) error { return nil }
}

// departure is a site whose agent is connected, and goes.
type departure struct {
	site
	dir    string
	driver *workloadtest.FakeDriver
	agent  *controllertest.Agent
}

func newDeparture(t *testing.T) *departure {
	t.Helper()
	s := newSite(t)
	d := &departure{site: s, dir: t.TempDir(), driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{})}
	e := s.admin.Install(t, "acme", s.node)
	d.start(t, &e)
	d.awaitStatus(t, "connected")
	return d
}

func (d *departure) start(t *testing.T, e *controllertest.Enrolment) {
	t.Helper()
	d.agent = controllertest.StartAgentWith(t, d.dir, e, d.driver, goes)
}

// leave stops the agent; comeBack starts it again, with what it wrote down. An
// agent that is stopped before it knows that it is connected does not say that
// it leaves, so what the node is then called is left open.
func (d *departure) leave(t *testing.T) {
	t.Helper()
	if err := d.agent.Stop(); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(t, "the node is not connected", func() (bool, string) {
		seen := d.admin.Get(d.nodePath()).Expect(t, http.StatusOK)
		return seen.String(t, "liveness") != "connected", string(seen.Body)
	})
}

func (d *departure) comeBack(t *testing.T) {
	t.Helper()
	d.start(t, nil)
}

// note is where the agent writes down that its node was deleted.
func (d *departure) note() string { return filepath.Join(d.dir, "deleted") }

func TestAnAgentLearnsThatItsNodeWasDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		query   string
		online  bool
		removes string
	}{
		"connected, containers stay": {"", true, `"removeContainers": false`},
		"connected, containers go":   {"?containers=remove", true, `"removeContainers": true`},
		"away, containers stay":      {"?containers=keep", false, `"removeContainers": false`},
		"away, containers go":        {"?containers=remove", false, `"removeContainers": true`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDeparture(t)
			if !c.online {
				s.leave(t)
			}
			s.admin.Delete(s.nodePath()+c.query).Expect(t, http.StatusNoContent)
			s.admin.Delete(s.nodePath()+c.query).Expect(t, http.StatusNotFound)
			if !c.online {
				s.comeBack(t)
			}
			if err := s.agent.Ended(t); !errors.Is(err, agentrt.ErrDeleted) {
				t.Errorf("ended with %v", err)
			}
			said, err := os.ReadFile(s.note())
			if err != nil || !strings.Contains(string(said), c.removes) {
				t.Errorf("it wrote down %s (%v), want %s", said, err, c.removes)
			}
		})
	}
}

func TestOnlyARecordedDeletionMakesAnAgentGo(t *testing.T) {
	s := newDeparture(t)
	// As in a database put back from a backup that is older than the node.
	s.exec(t, "delete from nodes where id = $1", s.node)
	if err := s.agent.Ended(t); !errors.Is(err, agentrt.ErrRevoked) {
		t.Errorf("the agent that nobody knows ended with %v", err)
	}
	if _, err := os.Stat(s.note()); err == nil {
		t.Error("it took its node for deleted")
	}
}

func TestAnAgentGoesOnWhenABackupUndoesTheDeletion(t *testing.T) {
	s := newDeparture(t)
	s.leave(t)
	s.Stop()
	restore := s.backup(t)
	s.Restart(t)
	s.admin.Delete(s.nodePath()+"?containers=remove").Expect(t, http.StatusNoContent)
	s.Stop()
	restore()
	s.Restart(t)
	s.comeBack(t)
	s.awaitStatus(t, "connected")
}

func TestADeletedNodesAgentIsToldWhenItsCertificateHasExpired(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	conn := s.connect(t, e)
	answer, own, err := enrol(t, conn, e.Token)
	if err != nil {
		t.Fatal(err)
	}
	s.admin.Delete(s.nodePath()+"?containers=remove").Expect(t, http.StatusNoContent)
	ask := func(key crypto.PrivateKey) error {
		t.Helper()
		signer, ok := key.(crypto.Signer)
		if !ok {
			t.Fatalf("%T can't sign", key)
		}
		request, err := pki.NewRequest(signer)
		if err != nil {
			t.Fatal(err)
		}
		_, err = agentv1.NewEnrolmentServiceClient(conn).Recover(t.Context(), &agentv1.RecoverRequest{AgentId: answer.GetAgentId(), CertificateRequest: request})
		return err
	}
	if told := deletion(ask(own.PrivateKey)); told == nil || !told.GetRemoveContainers() {
		t.Errorf("it is told %v", told)
	}
	other, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if told := deletion(ask(other)); told != nil {
		t.Errorf("somebody without its key is told %v", told)
	}
}

// deletion is what a refused call tells of the caller's node.
func deletion(err error) *agentv1.NodeDeletion {
	for _, detail := range status.Convert(err).Details() {
		if r, ok := detail.(*agentv1.Refusal); ok {
			return r.GetDeletion()
		}
	}
	return nil
}
