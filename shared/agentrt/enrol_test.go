package agentrt_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/pki"
)

func TestAnAgentEnrolsAndConnects(t *testing.T) {
	c := agentrttest.Start(t)
	n := newNode(t, nil)
	var log bytes.Buffer
	n.log = &log
	c.WriteEnrolment(t, n.dir, "very-secret-token")
	p := n.start()
	s := c.Welcome(t)
	if s.AgentID != "agent-1" || s.Hello.GetAgent().GetNodeType() != "docker" || s.Hello.GetAgent().GetEngineName() != "fake" {
		t.Errorf("agent %s said %v", s.AgentID, s.Hello)
	}
	if s.Hello.GetLineage() != "" || s.Hello.GetGeneration() != 0 {
		t.Errorf("a new agent holds %v", s.Hello)
	}
	if n.has("enrol.json") || !n.has("enrolled") || n.has("enrol-error") {
		t.Error("the install script's files are not as they should be")
	}
	p.quit()
	if strings.Contains(log.String(), "very-secret-token") {
		t.Error("the token is in the log")
	}

	n.start()
	if again := c.Welcome(t); again.AgentID != s.AgentID || again.Hello.GetBootId() == s.Hello.GetBootId() {
		t.Errorf("after a restart: agent %s, boot %s", again.AgentID, again.Hello.GetBootId())
	}
	if agents, _ := c.Enrolled(); agents != 1 {
		t.Errorf("%d agents were enrolled", agents)
	}
}

func TestARefusedTokenEndsTheAgent(t *testing.T) {
	for _, reason := range []agentv1.RefusalReason{
		agentv1.RefusalReason_REFUSAL_REASON_TOKEN_EXPIRED,
		agentv1.RefusalReason_REFUSAL_REASON_TOKEN_USED,
		agentv1.RefusalReason_REFUSAL_REASON_TOKEN_UNKNOWN,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			c := agentrttest.Start(t)
			n := newNode(t, nil)
			c.RefuseToken("token", reason)
			c.WriteEnrolment(t, n.dir, "token")
			var refused *agentrt.EnrolmentError
			if err := n.start().wait(); !errors.As(err, &refused) {
				t.Fatalf("ended with %v, want an enrolment error", err)
			}
			if text := n.read("enrol-error"); !strings.Contains(text, reason.String()) {
				t.Errorf("enrol-error says %q", text)
			}
			if n.has("enrol.json") || n.has("enrolled") {
				t.Error("the spent token is still there, or the agent counts as enrolled")
			}
			// Started again it does not bother the controller.
			if err := n.start().wait(); !errors.As(err, &refused) {
				t.Errorf("started again it ended with %v", err)
			}
		})
	}
}

func TestATokenIsNotGivenToStrangers(t *testing.T) {
	for name, arrange := range map[string]func(t *testing.T, c *agentrttest.Controller, n *node){
		"another root than the pinned": func(t *testing.T, c *agentrttest.Controller, n *node) {
			other := agentrttest.Start(t)
			other.WriteEnrolment(t, n.dir, "token")
			text := strings.ReplaceAll(n.read("enrol.json"), other.Addr(), c.Addr())
			if err := os.WriteFile(filepath.Join(n.dir, "enrol.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"another name than a controller's": func(t *testing.T, c *agentrttest.Controller, n *node) {
			key, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			chain, err := c.Authority.Agent("agent-9", &key.PublicKey, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			certificate, err := c.Authority.Server(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			certificate.Certificate[0], certificate.PrivateKey = chain[0], key
			c.UseServerCertificate(certificate)
			c.WriteEnrolment(t, n.dir, "token")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := agentrttest.Start(t)
			n := newNode(t, nil)
			arrange(t, c, n)
			var refused *agentrt.EnrolmentError
			if err := n.start().wait(); !errors.As(err, &refused) {
				t.Fatalf("ended with %v, want an enrolment error", err)
			}
			if agents, _ := c.Enrolled(); agents != 0 {
				t.Error("the stranger got the token")
			}
			if !n.has("enrol-error") || !n.has("enrol.json") {
				t.Error("the reason is missing, or the unspent token")
			}
		})
	}
}

func TestALostAnswerDoesNotLoseTheToken(t *testing.T) {
	c := agentrttest.Start(t)
	n := newNode(t, nil)
	c.LoseEnrolments(2)
	c.WriteEnrolment(t, n.dir, "token")
	n.start()
	c.Welcome(t)
	if agents, _ := c.Enrolled(); agents != 1 {
		t.Errorf("%d agents were enrolled", agents)
	}
}

func TestEnrolmentWaitsForTheController(t *testing.T) {
	c := agentrttest.Start(t)
	n := newNode(t, nil)
	c.RefuseToken("token", agentv1.RefusalReason_REFUSAL_REASON_BUSY)
	c.WriteEnrolment(t, n.dir, "token")
	p := n.start()
	p.stop()
	if err := p.wait(); err != nil {
		t.Fatalf("asked to stop while it waits, the agent ended with %v", err)
	}
	if !n.has("enrol.json") {
		t.Fatal("the token is gone")
	}
	c.WriteEnrolment(t, n.dir, "another")
	n.start()
	c.Welcome(t)
}

func TestAnAgentWithoutEnrolmentSaysWhatToDo(t *testing.T) {
	n := newNode(t, nil)
	var refused *agentrt.EnrolmentError
	if err := n.start().wait(); !errors.As(err, &refused) || !strings.Contains(err.Error(), "install script") {
		t.Fatalf("ended with %v", err)
	}
}

func TestABrokenEnrolmentFileIsExplained(t *testing.T) {
	n := newNode(t, nil)
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "enrol.json"), []byte(`{"controller":"nowhere","token":"hush"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var refused *agentrt.EnrolmentError
	if err := n.start().wait(); !errors.As(err, &refused) {
		t.Fatalf("ended with %v", err)
	}
	if text := n.read("enrol-error"); !strings.Contains(text, "host:port") || strings.Contains(text, "hush") {
		t.Errorf("enrol-error says %q", text)
	}
}
