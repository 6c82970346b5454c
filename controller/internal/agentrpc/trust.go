package agentrpc

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
)

const (
	// trustEvery is how often what agents said is written down, lookEvery how
	// often sessions are looked over.
	trustEvery = time.Second
	lookEvery  = 10 * time.Second
	// trustBatch bounds one statement.
	trustBatch = 500
	// trustSenders tell sessions of a change, so that a few that take nothing
	// do not hold up the others.
	trustSenders = 16
)

// trusts keeps agents told of the private roots while they are connected, and
// writes down which of them they trust. It also ends sessions whose
// certificate would not be taken any more: it expired, or its root was
// retired.
type trusts struct {
	authority Authority
	record    func(ctx context.Context, list []agent.Trust) error
	now       func() time.Time
	log       *slog.Logger

	mu       sync.Mutex
	sessions map[*trustee]struct{}
	said     map[uuid.UUID]agent.Trust
}

// trustee is one session's part of it.
type trustee struct {
	session agent.Session
	able    bool
	// expires is when the certificate does, root what it leads to.
	expires time.Time
	root    *x509.Certificate
	send    func(*agentv1.ControllerMessage) error
	end     context.CancelCauseFunc

	// trusted and moved belong to trusts.mu.
	trusted []string
	// moved is set when the roots changed while the session was open.
	moved bool
}

func newTrusts(authority Authority, record func(context.Context, []agent.Trust) error, now func() time.Time, log *slog.Logger) *trusts {
	return &trusts{
		authority: authority, record: record, now: now, log: log,
		sessions: map[*trustee]struct{}{}, said: map[uuid.UUID]agent.Trust{},
	}
}

// join takes a session in that was welcomed, and tells its agent of the roots
// if it must be told. leave must be called at the session's end; end ends the
// session.
func (t *trusts) join(
	ctx context.Context, session agent.Session, hello *agentv1.Hello,
	send func(*agentv1.ControllerMessage) error, end context.CancelCauseFunc,
) (e *trustee, leave func(), err error) {
	leaf, root, err := chainOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	e = &trustee{
		session: session, able: slices.Contains(hello.GetCapabilities(), protocol.Trust),
		expires: leaf.NotAfter, root: root, send: send, end: end,
	}
	e.trusted = hashes(hello.GetTrustedRoots())
	t.mu.Lock()
	t.sessions[e] = struct{}{}
	t.say(e)
	t.mu.Unlock()
	leave = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.sessions, e)
	}
	if err := t.tell(e); err != nil {
		leave()
		return nil, nil, err
	}
	return e, leave, nil
}

// acked takes an agent's word for what it trusts now. An agent keeps the root
// that its present connection was proven by; where that one is none any more,
// it is asked to connect anew.
func (t *trusts) acked(e *trustee, ack *agentv1.TrustAck) error {
	wanted := pinsOf(t.authority.Accepted())
	t.mu.Lock()
	e.trusted = hashes(ack.GetTrustedRoots())
	t.say(e)
	again := e.moved && slices.ContainsFunc(e.trusted, func(hash string) bool { return !slices.Contains(wanted, hash) })
	e.moved = false
	t.mu.Unlock()
	if !again {
		return nil
	}
	return e.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Reconnect{Reconnect: &agentv1.Reconnect{
		AfterMs: uint32(reconnectAfter.Milliseconds()), Reason: "the root that this connection was proven by was retired",
	}}})
}

// say notes what an agent trusts, to be written down soon; t.mu is held.
func (t *trusts) say(e *trustee) {
	t.said[e.session.AgentID] = agent.Trust{AgentID: e.session.AgentID, Epoch: e.session.Epoch, Roots: e.trusted}
}

// tell sends an agent the roots when it trusts others, and can be told.
func (t *trusts) tell(e *trustee) error {
	accepted := t.authority.Accepted()
	t.mu.Lock()
	same := sameHashes(e.trusted, pinsOf(accepted))
	t.mu.Unlock()
	if same || !e.able {
		return nil
	}
	var roots [][]byte
	for _, root := range accepted {
		roots = append(roots, root.Raw)
	}
	return e.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Trust{Trust: &agentv1.Trust{Roots: roots}}})
}

// run works until ctx ends.
func (t *trusts) run(ctx context.Context) {
	tick := time.NewTicker(trustEvery)
	defer tick.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	changed := t.authority.Changed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = t.authority.Changed()
			t.lookOver()
			t.tellAll(ctx)
		case <-look.C:
			t.lookOver()
		case <-tick.C:
			t.write(ctx)
		}
	}
}

// tellAll tells every session of a change.
func (t *trusts) tellAll(ctx context.Context) {
	t.mu.Lock()
	waiting := make(chan *trustee, len(t.sessions))
	for e := range t.sessions {
		e.moved = true
		waiting <- e
	}
	t.mu.Unlock()
	close(waiting)
	var wg sync.WaitGroup
	for range min(trustSenders, len(waiting)) {
		wg.Go(func() {
			for e := range waiting {
				if ctx.Err() == nil {
					_ = t.tell(e) // a session that can't be told is ending
				}
			}
		})
	}
	wg.Wait()
}

// lookOver ends the sessions whose certificate no new connection could show.
func (t *trusts) lookOver() {
	accepted := t.authority.Accepted()
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := range t.sessions {
		switch {
		case now.After(e.expires):
			e.end(apperr.New(apperr.Unavailable, "the agent's certificate expired during the session; come back with another").WithReason(reasonBusy))
		case !slices.ContainsFunc(accepted, e.root.Equal):
			e.end(apperr.New(apperr.Unavailable, "the root of the agent's certificate was retired; come back with another").WithReason(reasonBusy))
		}
	}
}

// write writes down what agents said. What can't be written is said again by
// the next session, or tried again here when nothing newer was said.
func (t *trusts) write(ctx context.Context) {
	t.mu.Lock()
	var list []agent.Trust
	for id, said := range t.said {
		if len(list) == trustBatch {
			break
		}
		list = append(list, said)
		delete(t.said, id)
	}
	t.mu.Unlock()
	if len(list) == 0 {
		return
	}
	err := t.record(ctx, list)
	if err == nil {
		return
	}
	if ctx.Err() == nil {
		t.log.Warn("could not note which roots agents trust; trying again", logging.KeyError, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, said := range list {
		if _, newer := t.said[said.AgentID]; !newer {
			t.said[said.AgentID] = said
		}
	}
}

// chainOf returns the verified certificate at the other end of a connection
// and the root it leads to.
func chainOf(ctx context.Context) (leaf, root *x509.Certificate, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, nil, apperr.New(apperr.Unauthenticated, "the connection carries no agent certificate; enrol first")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil, nil, apperr.New(apperr.Unauthenticated, "the connection carries no agent certificate; enrol first")
	}
	chain := info.State.VerifiedChains[0]
	return chain[0], chain[len(chain)-1], nil
}

func pinsOf(roots []*x509.Certificate) []string {
	var pins []string
	for _, root := range roots {
		pins = append(pins, pki.PinOf(root).String())
	}
	return pins
}

// hashes takes from an agent's list what can be the digests of roots.
func hashes(list []string) []string {
	var good []string
	for _, hash := range list {
		if raw, err := hex.DecodeString(hash); err == nil && len(raw) == len(pki.Pin{}) && !slices.Contains(good, hash) {
			good = append(good, hash)
		}
		if len(good) == pki.MaxRoots {
			break
		}
	}
	return good
}

func sameHashes(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(hash string) bool { return !slices.Contains(b, hash) })
}
