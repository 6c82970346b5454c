package pki

import (
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
)

// MaxRoots is how many roots an agent trusts at most, and a controller holds:
// one that goes, one in use, one that comes, and room for an accident.
const MaxRoots = 8

// HintSuffix ends the server names that agents send; see HintName.
const HintSuffix = ".root.fairlead.internal"

const (
	// hintDigits of a root's SHA-256 tell roots apart; they prove nothing.
	hintDigits = 16
)

// HintName is the server name (SNI) an agent sends: the beginnings of the pins
// of the roots it trusts, in front of a name that never is in the DNS, so that
// a controller with several roots can choose a certificate that the agent can
// verify. The certificate itself always names ServerName.
func HintName(pins ...Pin) string {
	var labels []string
	for _, pin := range pins[:min(len(pins), MaxRoots)] {
		labels = append(labels, pin.Hint())
	}
	if len(labels) == 0 {
		return ServerName
	}
	return strings.Join(labels, ".") + HintSuffix
}

// Hints returns what HintName was made from; nil for any other name, which is
// that of an agent from before there were hints.
func Hints(serverName string) []string {
	labels, found := strings.CutSuffix(serverName, HintSuffix)
	if !found {
		return nil
	}
	hints := strings.Split(labels, ".")
	return hints[:min(len(hints), MaxRoots)]
}

// Hint is the beginning of the pin, as HintName uses it.
func (p Pin) Hint() string { return hex.EncodeToString(p[:])[:hintDigits] }

// Trust is the set of roots an agent accepts its controller by. A change holds
// from the next connection on. It is safe for concurrent use.
type Trust struct {
	mu    sync.Mutex
	roots []*x509.Certificate
}

// NewTrust returns the trust in these roots.
func NewTrust(roots ...*x509.Certificate) *Trust { return &Trust{roots: slices.Clone(roots)} }

// Roots returns the trusted roots, in the order they came.
func (t *Trust) Roots() []*x509.Certificate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.roots)
}

// Replace trusts these roots and no others.
func (t *Trust) Replace(roots []*x509.Certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roots = slices.Clone(roots)
}

// Pins returns the pins of the trusted roots.
func (t *Trust) Pins() []Pin {
	var pins []Pin
	for _, root := range t.Roots() {
		pins = append(pins, PinOf(root))
	}
	return pins
}

// Verify checks what a server presented: the leaf leads to one of the trusted
// roots, is valid now, carries ServerName and is meant for servers. It returns
// that root. It fails with a *StrangerError.
func (t *Trust) Verify(presented []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if len(presented) == 0 {
		return nil, stranger(presented, apperr.New(apperr.Unauthenticated, "the server presented no certificate"))
	}
	var newest error
	for _, root := range t.Roots() {
		if newest = verifyServer(root, presented, now); newest == nil {
			return root, nil
		}
	}
	return nil, stranger(presented, newest)
}

// Next is the trust that follows from a list of roots (DER) that a controller
// sent over a connection which proved the root present. It is the list, and
// present with it in any case: the trust by which the agent is in touch now is
// given up only over a connection that proved another. It fails with Invalid,
// and nothing may change, when the list has none of the roots trusted now, or
// something in it is no root.
func (t *Trust) Next(list [][]byte, present *x509.Certificate) ([]*x509.Certificate, error) {
	if len(list) == 0 || len(list) > MaxRoots {
		return nil, apperr.New(apperr.Invalid, "the list has %d roots, want 1 to %d", len(list), MaxRoots)
	}
	var next []*x509.Certificate
	known := false
	trusted := t.Roots()
	for _, der := range list {
		root, err := ParseRoot(der)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(next, root.Equal) {
			continue
		}
		known = known || slices.ContainsFunc(trusted, root.Equal)
		next = append(next, root)
	}
	if !known {
		return nil, apperr.New(apperr.Invalid, "the list has none of the roots that are trusted now")
	}
	if !slices.ContainsFunc(next, present.Equal) {
		next = append([]*x509.Certificate{present}, next...)
	}
	return next, nil
}

// ParseRoot reads a root certificate (DER): an authority for ECDSA P-256
// signed by itself. It fails with Invalid.
func ParseRoot(der []byte) (*x509.Certificate, error) {
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, apperr.Wrap(apperr.Invalid, err, "not a certificate")
	}
	if !isRoot(root) {
		return nil, apperr.New(apperr.Invalid, "not a root certificate")
	}
	return root, nil
}
