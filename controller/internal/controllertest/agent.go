package controllertest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/workload"
)

// Enrolment is what an install script hands to an agent.
type Enrolment struct {
	Controller string `json:"controller"`
	RootSHA256 string `json:"rootSha256"`
	Token      string `json:"token"`
	NodeName   string `json:"nodeName"`
	// ReleaseKey is what later builds of the agent are signed by; the script
	// hands it over beside the rest.
	ReleaseKey string `json:"-"`
}

var releaseKey = regexp.MustCompile(`(?m)^RELEASE_KEY_RAW='([^']*)'$`)

var enrolment = regexp.MustCompile(`\{[^{}]*"rootSha256"[^{}]*\}`)

// Install makes a node's install script and returns what it would hand over.
func (c *Client) Install(t testing.TB, team, nodeID string) Enrolment {
	t.Helper()
	script := c.Post("/api/"+team+"/nodes/"+nodeID+"/script", map[string]any{"type": "docker", "scriptType": "shell"}).
		Expect(t, http.StatusCreated).String(t, "script")
	return ReadEnrolment(t, script)
}

// ReadEnrolment returns what an install script would hand over.
func ReadEnrolment(t testing.TB, script string) Enrolment {
	t.Helper()
	var e Enrolment
	if err := json.Unmarshal([]byte(enrolment.FindString(script)), &e); err != nil {
		t.Fatalf("find the enrolment in the script: %v\n%s", err, script)
	}
	if found := releaseKey.FindStringSubmatch(script); found != nil {
		e.ReleaseKey = found[1]
	}
	return e
}

// Agent is a running agent.
type Agent struct {
	StateDir string
	stop     func() error
	done     chan struct{}
}

// StartAgent starts an agent over a driver; e is nil for one that is enrolled.
// It stops with the test.
func StartAgent(t testing.TB, stateDir string, e *Enrolment, driver workload.Driver) *Agent {
	t.Helper()
	return StartAgentWith(t, stateDir, e, driver, func(*agentrt.Config) {})
}

// StartAgentWith starts an agent with a changed configuration.
func StartAgentWith(t testing.TB, stateDir string, e *Enrolment, driver workload.Driver, change func(*agentrt.Config)) *Agent {
	t.Helper()
	if e != nil {
		content, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stateDir, "enrol.json"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := agentrt.Config{StateDir: stateDir, Driver: driver, NodeType: "docker", Hostname: "test", Log: Logger(t)}
	change(&config)
	ctx, cancel := context.WithCancel(context.Background())
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		ended <- agentrt.New(config).Run(ctx)
	}()
	var result error
	var stopped bool
	a := &Agent{StateDir: stateDir, done: done, stop: func() error {
		if !stopped {
			stopped = true
			cancel()
			result = <-ended
		}
		return result
	}}
	t.Cleanup(func() { _ = a.stop() })
	return a
}

// Stop stops the agent and returns how it ended.
func (a *Agent) Stop() error {
	err := a.stop()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ended waits until the agent ends by itself and returns how.
func (a *Agent) Ended(t testing.TB) error {
	t.Helper()
	Await(t, "the agent ends", func() (bool, string) {
		select {
		case <-a.done:
			return true, ""
		default:
			return false, "it runs"
		}
	})
	return a.Stop()
}
