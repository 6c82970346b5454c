package agentrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/workload/workloadtest"

	"fairlead.dev/controller/internal/controllertest"
)

// logbook is a log that can be read while it is written.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestRenewalCostsNoSession: an agent whose certificate is past its half-life
// proves the next one by a session that takes over from the first, without
// being disconnected in between.
func TestRenewalCostsNoSession(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	content, err := json.Marshal(s.admin.Install(t, "acme", s.node))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "enrol.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	var said logbook
	agent := agentrt.New(agentrt.Config{
		StateDir: dir, NodeType: "docker", Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{}),
		Log: slog.New(slog.NewTextHandler(&said, nil)),
		Now: func() time.Time { return time.Now().Add(15 * time.Hour) }, // certificates last a day
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	controllertest.Await(t, "the renewed certificate is in use", func() (bool, string) {
		text := said.String()
		return strings.Count(text, "msg=connected") == 2, text
	})
	if text := said.String(); strings.Contains(text, "disconnected") || !strings.Contains(text, "going on with the renewed certificate") {
		t.Errorf("the agent says\n%s", text)
	}
	s.awaitStatus(t, "connected")
}
