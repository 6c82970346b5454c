package docker_test

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func at(address string, port int32, protocol string) change {
	return func(c *spec.Container) {
		c.Ports = append(c.Ports, spec.Port{Internal: 80, External: &port, Address: address, Protocol: protocol})
	}
}

// A port that somebody else has is named before anything is stopped: the old
// container goes on without a break.
func TestPortsThatAreTakenAreNamedFirst(t *testing.T) {
	foreign, program, other := freePort(t), freePort(t), freePort(t)
	options := quick()
	options.OnHost = true
	s := newSite(t, options)
	addForeign(t, s.engine, s.prefix+"-foreign", strconv.Itoa(int(foreign))+":80")
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(int(program)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	packets, err := net.ListenPacket("udp", "127.0.0.1:"+strconv.Itoa(int(other)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packets.Close() }()

	rwo := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	s.apply(s.release(1, web(rwo)))
	started := s.inspect("web").State.StartedAt
	for name, test := range map[string]struct {
		port change
		says string
	}{
		"another container":                          {at("", foreign, "tcp"), s.prefix + "-foreign"},
		"another container, at one of its addresses": {at("127.0.0.1", foreign, "tcp"), s.prefix + "-foreign"},
		"a program":           {at("", program, "tcp"), "a program on this node"},
		"a program, with UDP": {at("127.0.0.1", other, "udp"), "a program on this node"},
	} {
		t.Run(name, func(t *testing.T) {
			failure := s.applyFails(s.release(2, web(rwo, greet("x"), test.port)))
			if !apperr.Is(failure, apperr.Conflict) || !strings.Contains(failure.Error(), test.says) || failure.Step != "check" {
				t.Errorf("step %s: %v, want a conflict with %s", failure.Step, failure, test.says)
			}
			if seen := s.inspect("web").State; !seen.Running || seen.StartedAt != started {
				t.Error("the old container was stopped")
			}
		})
	}
	// UDP and TCP are ports of their own, and so is each address.
	s.apply(s.release(3, web(rwo, at("", other, "tcp"), at("127.0.0.2", program, "udp"))))
	// Its own port does not stand in a successor's way.
	s.apply(s.release(4, web(rwo, greet("y"), at("", other, "tcp"))))
	if _, err := docker.New(s.engine, options).Plan(t.Context(), s.release(5, web(rwo, at("", foreign, "tcp")))); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("Plan: %v", err)
	}
}

func TestPortsAreBoundToAddresses(t *testing.T) {
	s := newSite(t, quick())
	four, six := freePort(t), freePort(t)
	s.apply(s.release(1, web(at("127.0.0.1", four, "tcp"), at("::1", six, "udp"))))
	bound := map[string]string{}
	for inside, list := range s.inspect("web").NetworkSettings.Ports {
		for _, b := range list {
			bound[b.HostIP] = b.HostPort + "/" + inside.Proto()
		}
	}
	want := map[string]string{"127.0.0.1": strconv.Itoa(int(four)) + "/tcp", "::1": strconv.Itoa(int(six)) + "/udp"}
	if len(bound) != 2 || bound["127.0.0.1"] != want["127.0.0.1"] || bound["::1"] != want["::1"] {
		t.Errorf("bound are %v, want %v", bound, want)
	}
}
