package fleetsim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload"

	"fairlead.dev/e2e/fleetsim/faultnet"
)

// Real is an agent of package agentrt: the node's engine (Driver) and disk
// (StateDir) outlive the agent's process, which Start and Stop make and end.
type Real struct {
	// StateDir is the agent's folder.
	StateDir string
	Driver   workload.Driver
	// Line is what its connections go over.
	Line  *faultnet.Line
	proxy *faultnet.Proxy
	log   *slog.Logger

	mu     sync.Mutex
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// NewReal returns an agent that enrols with the token when it is first started.
// Log may be nil. Close ends its proxy.
func NewReal(ctx context.Context, controller string, pin pki.Pin, t Token, stateDir string, driver workload.Driver, seed uint64, log *slog.Logger) (*Real, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	line := faultnet.NewLine(seed)
	proxy, err := faultnet.Listen(ctx, controller, line)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(map[string]string{
		"controller": proxy.Addr(), "rootSha256": pin.String(), "token": t.Token, "nodeName": t.NodeName,
	})
	if err == nil {
		err = os.MkdirAll(stateDir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(stateDir, "enrol.json"), content, 0o600)
	}
	if err != nil {
		_ = proxy.Close()
		return nil, fmt.Errorf("lay down an agent's enrolment: %w", err)
	}
	return &Real{StateDir: stateDir, Driver: driver, Line: line, proxy: proxy, log: log}, nil
}

// Start starts the agent, unless it runs.
func (r *Real) Start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		select {
		case <-r.ended:
		default:
			return
		}
	}
	ctx, r.cancel = context.WithCancel(ctx)
	ended := make(chan struct{})
	r.ended = ended
	agent := agentrt.New(agentrt.Config{StateDir: r.StateDir, Driver: r.Driver, NodeType: "docker", Hostname: "real", Log: r.log})
	go func() {
		defer close(ended)
		err := agent.Run(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}()
}

// Stop ends the agent in order and returns how it ended.
func (r *Real) Stop() error {
	r.mu.Lock()
	cancel, ended := r.cancel, r.ended
	r.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	<-ended
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Kill cuts the agent off first, so that it ends without a word to the
// controller; what it has on disk is what it had. Its line is whole again
// after.
func (r *Real) Kill() error {
	r.Line.Down(true)
	defer r.Line.Down(false)
	return r.Stop()
}

// Close kills the agent and ends its proxy.
func (r *Real) Close() error {
	_ = r.Kill() // how it ended was for Stop to tell
	return r.proxy.Close()
}
