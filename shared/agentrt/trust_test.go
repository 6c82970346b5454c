package agentrt_test

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
)

func pins(roots ...*x509.Certificate) []string {
	var list []string
	for _, root := range roots {
		list = append(list, pki.PinOf(root).String())
	}
	return list
}

func TestTrustComesFromATrustedControllerOnly(t *testing.T) {
	newRoot := func() *x509.Certificate {
		a, err := pki.NewAuthority(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a.Root
	}
	controller := agentrttest.Start(t)
	n := newNode(t, nil)
	ours, next, foreign := controller.Authority.Root, newRoot(), newRoot()
	controller.WriteEnrolment(t, n.dir, "token")
	p := n.start()
	s := controller.Welcome(t)
	if !slices.Contains(s.Hello.GetCapabilities(), protocol.Trust) || !slices.Equal(s.Hello.GetTrustedRoots(), pins(ours)) {
		t.Fatalf("hello says %v, %v", s.Hello.GetCapabilities(), s.Hello.GetTrustedRoots())
	}
	for _, step := range []struct {
		name       string
		list, want []*x509.Certificate
	}{
		{"nothing", nil, []*x509.Certificate{ours}},
		{"strangers alone", []*x509.Certificate{foreign}, []*x509.Certificate{ours}},
		{"the next one beside ours", []*x509.Certificate{ours, next}, []*x509.Certificate{ours, next}},
		{"the next one alone, over a connection of ours", []*x509.Certificate{next}, []*x509.Certificate{ours, next}},
		{"a stranger beside the next one", []*x509.Certificate{next, foreign}, []*x509.Certificate{ours, next, foreign}},
		{"back to ours", []*x509.Certificate{ours}, []*x509.Certificate{ours}},
		{"the next one again", []*x509.Certificate{ours, next}, []*x509.Certificate{ours, next}},
	} {
		if got := s.Trust(t, step.list...).GetTrustedRoots(); !slices.Equal(got, pins(step.want...)) {
			t.Fatalf("%s: the agent trusts %v, want %v", step.name, got, pins(step.want...))
		}
	}
	// What was acknowledged is on the disk.
	p.stop()
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	n.start()
	if got := controller.Welcome(t).Hello.GetTrustedRoots(); !slices.Equal(got, pins(ours, next)) {
		t.Errorf("after a restart the agent trusts %v", got)
	}
}
