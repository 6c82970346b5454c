package compose

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/shared/spec"
)

// ports converts ports and expose. Neighbouring ports that are published one
// for one become a range.
func (c *conversion) ports(s *section, to *spec.Container) {
	list, _ := s.take("ports")
	all, _ := list.([]any)
	var found []spec.Port
	for _, item := range all {
		found = append(found, c.port(open(c.report, s.at("ports"), item))...)
	}
	exposed, _ := s.take("expose")
	for i, written := range texts(exposed) {
		found = append(found, c.expose(pointer(s.at("expose"), i), written, found)...)
	}
	slices.SortStableFunc(found, func(a, b spec.Port) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Address, b.Address), cmp.Compare(a.Internal, b.Internal), cmp.Compare(external(a), external(b)))
	})
	for i := 0; i < len(found); {
		run := 1
		for i+run < len(found) && follows(found[i+run-1], found[i+run]) {
			run++
		}
		first, last := found[i], found[i+run-1]
		if run > 1 && run <= spec.MaxPublishedPorts {
			to.PortRanges = append(to.PortRanges, spec.PortRange{
				ID: id(len(to.PortRanges)), Protocol: first.Protocol,
				Internal: spec.Range{From: first.Internal, To: last.Internal},
				External: spec.Range{From: *first.External, To: *last.External},
			})
		} else {
			for _, p := range found[i : i+run] {
				p.ID = id(len(to.Ports))
				to.Ports = append(to.Ports, p)
			}
		}
		i += run
	}
}

func external(p spec.Port) int32 {
	if p.External == nil {
		return 0
	}
	return *p.External
}

// follows tells whether b can stand in one range behind a. Ranges have no
// address.
func follows(a, b spec.Port) bool {
	return a.External != nil && b.External != nil && a.Protocol == b.Protocol && a.Address == "" && b.Address == "" &&
		b.Internal == a.Internal+1 && *b.External == *a.External+1
}

// port converts one entry; one that says the same for every address of the
// host may stand there twice.
func (c *conversion) port(p *section) []spec.Port {
	target, ok := p.number("target", 65535)
	port := spec.Port{Internal: int32(target), Protocol: p.text("protocol"), Address: p.text("host_ip")}
	if mode := p.text("mode"); mode != "" && mode != "ingress" && mode != "host" {
		c.refuse(p.at("mode"), "%q is not supported", mode)
	}
	p.text("name") // what people call the port
	published := p.text("published")
	p.close(noCounterpart)
	if port.Protocol == "" {
		port.Protocol = "tcp"
	}
	switch {
	case !ok || target == 0:
		c.refuse(p.path, "an entry has no port of the container")
		return nil
	case port.Protocol != "tcp" && port.Protocol != "udp":
		c.refuse(p.path, "the protocol %q of port %d is not supported", port.Protocol, target)
		return nil
	case port.Address == "0.0.0.0":
		port.Address = ""
	}
	if published == "" || published == "0" {
		c.refuse(p.path, "a port of the host that the engine picks is not supported: %d is exposed and not published", target)
		return []spec.Port{port}
	}
	n, err := strconv.ParseUint(published, 10, 16)
	if err != nil || n == 0 {
		c.refuse(p.path, "%q can't be published for port %d: one port of the host is wanted", published, target)
		return []spec.Port{port}
	}
	host := int32(n)
	port.External = &host
	return []spec.Port{port}
}

// expose converts an entry such as "3000", "3000-3005" or "53/udp", without the
// ports that are there already.
func (c *conversion) expose(path, written string, have []spec.Port) []spec.Port {
	numbers, protocol, _ := strings.Cut(written, "/")
	if protocol == "" {
		protocol = "tcp"
	}
	from, to, isRange := strings.Cut(numbers, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseInt(from, 10, 32)
	last, err2 := strconv.ParseInt(to, 10, 32)
	if err1 != nil || err2 != nil || first < 1 || last > 65535 || last < first || last-first >= spec.MaxListEntries || protocol != "tcp" && protocol != "udp" {
		c.refuse(path, "%q is not a port, or more than %d", written, spec.MaxListEntries)
		return nil
	}
	var list []spec.Port
	for n := first; n <= last; n++ {
		p := spec.Port{Internal: int32(n), Protocol: protocol}
		if !slices.ContainsFunc(have, func(h spec.Port) bool { return h.Internal == p.Internal && h.Protocol == protocol }) {
			list = append(list, p)
		}
	}
	return list
}
