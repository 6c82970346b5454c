package docker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// publishedPort is a port of the host, and who has it.
type publishedPort struct {
	address  string
	port     string
	protocol string
	holder   string
}

// portsHeldBy are the ports of the host that a container has published and
// holds.
func portsHeldBy(c container.Summary) (held []publishedPort) {
	for _, p := range c.Ports {
		if p.PublicPort != 0 {
			held = append(held, publishedPort{p.IP, strconv.Itoa(int(p.PublicPort)), p.Type, "container " + engineName(c)})
		}
	}
	return held
}

// meets reports whether two cannot be held at the same time.
func (h publishedPort) meets(other publishedPort) bool {
	return h.port == other.port && h.protocol == other.protocol &&
		(everywhere(h.address) || everywhere(other.address) || sameAddress(h.address, other.address))
}

func everywhere(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err != nil || ip.IsUnspecified()
}

func sameAddress(a, b string) bool {
	left, errLeft := netip.ParseAddr(a)
	right, errRight := netip.ParseAddr(b)
	return errLeft == nil && errRight == nil && left == right
}

// wantedPorts are the ports of the host that a container publishes, in a fixed
// order.
func wantedPorts(bindings nat.PortMap) (wanted []publishedPort) {
	for inside, list := range bindings {
		for _, b := range list {
			wanted = append(wanted, publishedPort{address: b.HostIP, port: b.HostPort, protocol: inside.Proto()})
		}
	}
	slices.SortFunc(wanted, func(a, b publishedPort) int {
		left, _ := strconv.Atoi(a.port) // the builder made it of a number
		right, _ := strconv.Atoi(b.port)
		return left - right
	})
	return wanted
}

// takenPort refuses a port of the host that somebody else has, before anything
// is stopped for it.
func takenPort(bindings nat.PortMap, held []publishedPort) error {
	for _, w := range wantedPorts(bindings) {
		if i := slices.IndexFunc(held, w.meets); i >= 0 {
			return apperr.New(apperr.Conflict, "host port %s/%s is already used by %s; publish another port, or end that first", w.port, w.protocol, held[i].holder)
		}
	}
	return nil
}

// portsHeldOutside finds the ports that a deployment publishes which no
// container has and which are taken all the same.
func (d *Driver) portsHeldOutside(ctx context.Context, dep spec.Deployment, containers []container.Summary) (held []publishedPort) {
	if !d.options.OnHost {
		return nil
	}
	var known []publishedPort
	for _, c := range containers {
		known = append(known, portsHeldBy(c)...)
	}
	for _, w := range dep.Workloads {
		b, _ := build(dep, w, w.Image.Reference)
		for _, p := range wantedPorts(b.host.PortBindings) {
			if !slices.ContainsFunc(known, p.meets) && isTaken(ctx, p) {
				held = append(held, publishedPort{p.address, p.port, p.protocol, "a program on this node"})
			}
		}
	}
	return held
}

// isTaken tries to have a port for a moment. What it cannot find out counts as
// free: the engine will tell.
func isTaken(ctx context.Context, p publishedPort) bool {
	var config net.ListenConfig
	at := net.JoinHostPort(p.address, p.port)
	if p.protocol == "udp" {
		conn, err := config.ListenPacket(ctx, "udp", at)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.EADDRINUSE)
	}
	listener, err := config.Listen(ctx, p.protocol, at)
	if err == nil {
		_ = listener.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}
