package agentrpc

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// wire is one end of a connection that seems to come from an address.
type wire struct {
	net.Conn
	from net.Addr
}

func (w wire) RemoteAddr() net.Addr { return w.from }

func dial(t *testing.T, from string) (net.Conn, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return wire{near, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 1234))}, far
}

// cut tells whether the other end was closed.
func cut(t *testing.T, far net.Conn) bool {
	t.Helper()
	if err := far.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		return true
	}
	_, err := far.Read(make([]byte, 1))
	timeout, ok := err.(net.Error) //nolint:errorlint // as net returns it
	return !ok || !timeout.Timeout()
}

func TestConnectionsThatSayNothingAreCut(t *testing.T) {
	clock := time.Duration(0)
	s := newConns(Limits{}.withDefaults(), func() time.Duration { return clock })
	near, silent := dial(t, "10.0.0.1")
	s.admit(near)
	near, calling := dial(t, "10.0.0.1")
	end := s.admit(near).begin()
	clock = s.limits.HelloTimeout - 1
	s.sweep()
	if cut(t, silent) {
		t.Error("cut too early")
	}
	clock = s.limits.HelloTimeout
	s.sweep()
	if !cut(t, silent) || cut(t, calling) {
		t.Errorf("cut: the silent one %v, the one in a call %v", cut(t, silent), cut(t, calling))
	}
	end()
	clock += s.limits.Idle
	s.sweep()
	if !cut(t, calling) {
		t.Error("a connection that is idle after its call is kept for ever")
	}
	if len(s.all) != 0 || s.count != 0 || len(s.newcomers) != 0 {
		t.Errorf("%d connections and %d newcomers are left", len(s.all), s.count)
	}
}

func TestAnAddressThatOpensManyAndSaysNothingIsTurnedAway(t *testing.T) {
	clock := time.Duration(0)
	s := newConns(Limits{PerAddress: 3, Newcomers: 100}.withDefaults(), func() time.Duration { return clock })
	come := func(from string) *conn {
		near, _ := dial(t, from)
		return s.admit(near)
	}
	for range 10 { // a crowd that has just come is no attack
		if come("10.0.0.1") == nil {
			t.Fatal("turned away while all are new")
		}
	}
	clock = s.limits.Patience
	if come("10.0.0.1") != nil {
		t.Error("let in although many of its own wait for long")
	}
	if come("10.0.0.2") == nil {
		t.Error("another address is turned away")
	}
}

func TestTheCrowdOfOneAddressMakesRoomForOthers(t *testing.T) {
	clock := time.Duration(0)
	s := newConns(Limits{Newcomers: 4}.withDefaults(), func() time.Duration { return clock })
	var crowd []net.Conn
	for range 3 {
		near, far := dial(t, "10.0.0.1")
		s.admit(near)
		crowd = append(crowd, far)
	}
	near, other := dial(t, "10.0.0.2")
	s.admit(near)
	entered := make(chan bool)
	go func() { entered <- s.room() }()
	s.sweep()
	select {
	case <-entered:
		t.Fatal("one more is let in while there is no room and nobody is slow")
	default:
	}
	clock = s.limits.Patience
	s.sweep()
	if !<-entered {
		t.Error("nobody more is let in")
	}
	for _, far := range crowd {
		if !cut(t, far) {
			t.Error("one of the crowd is left")
		}
	}
	if cut(t, other) {
		t.Error("the other address is cut too")
	}
}
