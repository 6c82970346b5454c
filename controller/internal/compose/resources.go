package compose

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/shared/spec"
)

// resources converts limits and reservations, and the number of containers.
func (c *conversion) resources(s *section, to *spec.Container) {
	replicas, many := s.number("scale", spec.MaxReplicas)
	limits, requests := spec.Resources{}, spec.Resources{}
	c.quantity(s, "cpus", &limits.CPU, cpus)
	c.quantity(s, "mem_limit", &limits.Memory, memory)
	c.quantity(s, "mem_reservation", &requests.Memory, memory)

	deploy := s.inner("deploy")
	if n, said := deploy.number("replicas", spec.MaxReplicas); said {
		replicas, many = n, true
	}
	deploy.only("mode", "replicated")
	of := deploy.inner("resources")
	for _, part := range []struct {
		key string
		to  *spec.Resources
	}{{"limits", &limits}, {"reservations", &requests}} {
		m := of.inner(part.key)
		c.quantity(m, "cpus", &part.to.CPU, cpus)
		c.quantity(m, "memory", &part.to.Memory, memory)
		m.close(noCounterpart)
	}
	of.close(noCounterpart)
	deploy.close("is for Swarm; the policy of a deployment says how releases take over")

	if many {
		n := int32(replicas)
		to.Replicas = &n
	}
	var none spec.Resources
	if limits != none || requests != none {
		to.ResourceConfig = &spec.ResourceConfig{}
	}
	if limits != none {
		to.ResourceConfig.Limits = &limits
	}
	if requests != none {
		to.ResourceConfig.Requests = &requests
	}
}

// quantity reads one; zero says nothing, as in Compose.
func (c *conversion) quantity(s *section, key string, to *string, read func(string) (string, error)) {
	written := s.text(key)
	if written == "" || written == "0" {
		return
	}
	q, err := read(written)
	if err != nil {
		c.refuse(s.at(key), "%v", err)
		return
	}
	*to = q
}

func cpus(written string) (string, error) {
	n, err := strconv.ParseFloat(written, 64)
	if err != nil || !(n > 0) || n > 1<<16 {
		return "", fmt.Errorf("%q is not a number of processors", written)
	}
	return strconv.FormatInt(int64(math.Ceil(n*1000)), 10) + "m", nil
}

var size = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(?:i?b)?$`)

// memory reads a size as Compose does: its units are powers of 1024.
func memory(written string) (string, error) {
	parts := size.FindStringSubmatch(strings.ToLower(written))
	if parts == nil {
		return "", fmt.Errorf("%q is not a size", written)
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if parts[2] != "" {
		n *= math.Pow(1024, float64(strings.Index("kmgtp", parts[2])+1))
	}
	if err != nil || n > 1<<60 {
		return "", fmt.Errorf("%q is not a size", written)
	}
	bytes := int64(n)
	for _, unit := range []struct {
		name string
		size int64
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if bytes > 0 && bytes%unit.size == 0 {
			return strconv.FormatInt(bytes/unit.size, 10) + unit.name, nil
		}
	}
	return strconv.FormatInt(bytes, 10), nil
}
