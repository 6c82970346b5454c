package docker

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
)

// leastMemory is the lowest limit that the engine takes.
const leastMemory = 6 << 20

// resources are limits as the engine has them. Of the requests, memory becomes
// the soft limit and CPU the relative weight, 1024 a core.
func resources(c *spec.ResourceConfig, p *problems) container.Resources {
	var r container.Resources
	if c == nil {
		return r
	}
	if l := c.Limits; l != nil {
		r.NanoCPUs = cpu("resourceConfig.limits.cpu", l.CPU, 1e9, p)
		r.Memory = memory("resourceConfig.limits.memory", l.Memory, p)
		if r.Memory > 0 && r.Memory < leastMemory {
			p.invalid("resourceConfig.limits.memory", "%q is less than the 6Mi that Docker starts a container with", l.Memory)
		}
	}
	if q := c.Requests; q != nil {
		r.CPUShares = cpu("resourceConfig.requests.cpu", q.CPU, 1024, p)
		r.MemoryReservation = memory("resourceConfig.requests.memory", q.Memory, p)
	}
	return r
}

func cpu(field, quantity string, perCore int64, p *problems) int64 {
	if quantity == "" {
		return 0
	}
	digits, milli := strings.CutSuffix(quantity, "m")
	cores, ok := decimal(digits)
	if !ok {
		p.invalid(field, "%q is not a number of cores such as 250m or 2", quantity)
		return 0
	}
	if milli {
		cores.Quo(cores, big.NewRat(1000, 1))
	}
	return whole(cores.Mul(cores, big.NewRat(perCore, 1)))
}

func memory(field, quantity string, p *problems) int64 {
	if quantity == "" {
		return 0
	}
	bytes, err := parseBytes(quantity)
	if err != nil {
		p.invalid(field, "%v", err)
	}
	return bytes
}

// parseBytes reads a quantity of memory: decimal (k, M, G, T, P), binary (Ki,
// Mi, Gi, Ti, Pi), or as Docker's own command line has it, in lower case and
// binary (kb, mb, g, gb, t, tb). "m" alone means a thousandth in one tradition
// and a million in the other, and is refused.
func parseBytes(quantity string) (int64, error) {
	digits := strings.TrimRight(quantity, "kKMGTPigtmb")
	unit := quantity[len(digits):]
	factors := map[string]float64{
		"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
		"ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
		"kb": 1 << 10, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30, "t": 1 << 40, "tb": 1 << 40,
	}
	if unit == "m" {
		return 0, fmt.Errorf("%q is ambiguous, write %sMi or %sM", quantity, digits, digits)
	}
	factor, known := factors[unit]
	number, ok := decimal(digits)
	if !known || !ok {
		return 0, fmt.Errorf("%q is not a quantity such as 64Mi", quantity)
	}
	return whole(number.Mul(number, new(big.Rat).SetFloat64(factor))), nil
}

// decimal reads digits with at most one point.
func decimal(text string) (*big.Rat, bool) {
	if strings.Trim(text, "0123456789.") != "" || len(text) > maxDigits {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// maxDigits is more than any quantity on any machine needs.
const maxDigits = 40

// whole rounds down and stays within an int64.
func whole(r *big.Rat) int64 {
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return n.Int64()
}
