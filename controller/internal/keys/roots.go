package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"fairlead.dev/controller/internal/root"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const (
	serverCertificateLifetime = 90 * 24 * time.Hour
	// lookEvery is how soon a change by another process is noticed. A look is
	// the reading of one small file.
	lookEvery = 2 * time.Second
)

// Roots are the private roots of an installation: the one that signs, those
// that are going and the one that comes. What is written down about them is
// one file, replaced whole, so that every step is taken or not. Several
// controllers may share the folder; Run notices what another process did. It
// is safe for concurrent use.
type Roots struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	held    []held // oldest first; exactly one is current
	raw     []byte // roots.json as it was read; nil when there is none
	changed chan struct{}
}

// held is one root with its key, and the certificate the listener shows by it.
type held struct {
	root.Root
	file      string
	authority *pki.Authority
	server    *tls.Certificate
	renewAt   time.Time
}

func (h held) pin() pki.Pin { return pki.PinOf(h.authority.Root) }

// List returns the roots, oldest first.
func (r *Roots) List() []root.Root {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []root.Root
	for _, h := range r.held {
		list = append(list, h.Root)
	}
	return list
}

// Accepted returns the certificates of all roots, oldest first: what agents
// are to trust, and what their certificates may lead to.
func (r *Roots) Accepted() []*x509.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*x509.Certificate
	for _, h := range r.held {
		list = append(list, h.authority.Root)
	}
	return list
}

// Pin returns the SHA-256, in hex, of the root that signs.
func (r *Roots) Pin() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current().SHA256
}

// Agent signs an agent's certificate with the current root; see
// pki.Authority.Agent.
func (r *Roots) Agent(agentID string, key *ecdsa.PublicKey, notBefore, notAfter time.Time) ([][]byte, error) {
	r.mu.Lock()
	authority := r.current().authority
	r.mu.Unlock()
	return authority.Agent(agentID, key, notBefore, notAfter)
}

// Server returns a certificate for the listener that an agent can verify: of
// the newest root it can mean by its hints (see pki.HintName) and that signs
// already, else of the one that comes. An agent that gives no hint which we
// know gets the oldest root, the likeliest for one that was away for long.
func (r *Roots) Server(hints []string) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chosen := &r.held[0]
	rank := -1
	for i := range r.held {
		h := &r.held[i]
		better := map[root.State]int{root.Next: 0, root.Old: 1, root.Current: 2}[h.State]
		if better > rank && slices.Contains(hints, h.pin().Hint()) {
			chosen, rank = h, better
		}
	}
	if now := r.now(); chosen.server == nil || !now.Before(chosen.renewAt) {
		server, err := chosen.authority.Server(now.Add(-pki.ClockTolerance), now.Add(serverCertificateLifetime))
		if err != nil {
			return nil, fmt.Errorf("make the agent listener's certificate: %w", err)
		}
		chosen.server, chosen.renewAt = server, now.Add(serverCertificateLifetime/2)
	}
	return chosen.server, nil
}

// Changed returns a channel that is closed at the next change of the roots.
func (r *Roots) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Run notices what other processes do to the roots until ctx ends. What can't
// be read is logged, and the roots stay what they were.
func (r *Roots) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var told string
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		changed, err := r.Look()
		switch {
		case err == nil && changed:
			told = ""
			log.Info("the private roots changed", "signs", r.Pin(), "roots", len(r.List()))
		case err != nil && err.Error() != told:
			told = err.Error()
			log.Error("the private roots can't be read; those read before stay in use", logging.KeyError, err)
		}
	}
}

// Look reads the roots again and reports whether they changed.
func (r *Roots) Look() (changed bool, err error) {
	raw, err := readManifest(r.dir)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes.Equal(raw, r.raw) {
		return false, nil
	}
	return true, r.load(raw)
}

// load takes what a manifest says; r.mu is held. A root that stays keeps its
// server certificate.
func (r *Roots) load(raw []byte) error {
	loaded, err := readRoots(r.dir, raw)
	if err != nil {
		return err
	}
	for i := range loaded {
		for _, h := range r.held {
			if h.SHA256 == loaded[i].SHA256 {
				loaded[i].server, loaded[i].renewAt = h.server, h.renewAt
			}
		}
	}
	r.held, r.raw = loaded, raw
	if r.changed != nil {
		close(r.changed)
	}
	r.changed = make(chan struct{})
	return nil
}

// current is the root that signs; r.mu is held.
func (r *Roots) current() held {
	return r.held[slices.IndexFunc(r.held, func(h held) bool { return h.State == root.Current })]
}
