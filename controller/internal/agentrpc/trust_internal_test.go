package agentrpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"
)

// ring is an authority with the given roots.
type ring []*x509.Certificate

func (r *ring) Accepted() []*x509.Certificate             { return *r }
func (r *ring) Server([]string) (*tls.Certificate, error) { return nil, errors.New("not here") }
func (r *ring) Changed() <-chan struct{}                  { return nil }
func (r *ring) Agent(string, *ecdsa.PublicKey, time.Time, time.Time) ([][]byte, error) {
	return nil, errors.New("not here")
}

func newRoot(t *testing.T) *x509.Certificate {
	t.Helper()
	a, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a.Root
}

func TestASessionEndsWithItsCertificateAndItsRoot(t *testing.T) {
	now := time.Now()
	one, two := newRoot(t), newRoot(t)
	roots := ring{one, two}
	trusts := newTrusts(&roots, nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	open := func(root *x509.Certificate, expires time.Time) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		trusts.sessions[&trustee{root: root, expires: expires, end: cancel}] = struct{}{}
		return ctx
	}
	old, short, long := open(one, now.Add(time.Hour)), open(two, now.Add(time.Minute)), open(two, now.Add(time.Hour))
	ended := func() []bool { return []bool{old.Err() != nil, short.Err() != nil, long.Err() != nil} }
	for _, step := range []struct {
		name string
		do   func()
		want []bool
	}{
		{"at first", func() {}, []bool{false, false, false}},
		{"when one has expired", func() { now = now.Add(2 * time.Minute) }, []bool{false, true, false}},
		{"when a root was retired", func() { roots = ring{two} }, []bool{true, true, false}},
	} {
		step.do()
		trusts.lookOver()
		if got := ended(); !slices.Equal(got, step.want) {
			t.Errorf("%s: ended are %v, want %v", step.name, got, step.want)
		}
	}
}

func TestWhatAgentsSayTheyTrustIsKeptUntilItIsWritten(t *testing.T) {
	root := newRoot(t)
	roots := ring{root}
	var written [][]agent.Trust
	fail := true
	trusts := newTrusts(&roots, func(_ context.Context, list []agent.Trust) error {
		if fail {
			return errors.New("no database")
		}
		written = append(written, list)
		return nil
	}, time.Now, slog.New(slog.DiscardHandler))
	pin := pki.PinOf(root).String()
	e := &trustee{session: agent.Session{AgentID: uuid.New(), Epoch: 3}, trusted: []string{pin}}
	trusts.say(e)
	trusts.write(t.Context())
	fail = false
	trusts.write(t.Context())
	trusts.write(t.Context())
	if len(written) != 1 || len(written[0]) != 1 || written[0][0].Epoch != 3 || !slices.Equal(written[0][0].Roots, []string{pin}) {
		t.Errorf("written: %+v", written)
	}
	// Nonsense is not kept, and there is an end to it.
	nonsense := append(slices.Repeat([]string{"x", pin, pin}, 50), "zz"+pin[2:])
	if err := trusts.acked(e, &agentv1.TrustAck{TrustedRoots: nonsense}); err != nil || !slices.Equal(e.trusted, []string{pin}) {
		t.Errorf("kept %v, %v", e.trusted, err)
	}
}
