package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
)

// Pin is the SHA-256 of a root certificate (DER): all that an agent knows of
// its controller before they first meet.
type Pin [sha256.Size]byte

// PinOf returns the pin of a root.
func PinOf(root *x509.Certificate) Pin { return sha256.Sum256(root.Raw) }

// ParsePin reads a pin written in hex.
func ParsePin(text string) (Pin, error) {
	var p Pin
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(p) {
		return p, apperr.InvalidField("rootSha256", text, "must be %d hex digits", 2*len(p))
	}
	copy(p[:], raw)
	return p, nil
}

// String returns the pin in hex.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// Verify checks what a server presented: the pinned root must be in the chain
// and signed by itself, and the leaf must lead to it, be valid now, carry
// ServerName and be meant for servers. It returns the root. Every failure is a
// *StrangerError.
func (p Pin) Verify(presented []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if len(presented) == 0 {
		return nil, stranger(presented, apperr.New(apperr.Unauthenticated, "the server presented no certificate"))
	}
	i := slices.IndexFunc(presented, func(cert *x509.Certificate) bool { return PinOf(cert) == p })
	if i < 0 {
		return nil, stranger(presented, apperr.New(apperr.Unauthenticated, "the server does not present the pinned root certificate"))
	}
	if !isRoot(presented[i]) {
		return nil, stranger(presented, apperr.New(apperr.Unauthenticated, "the pinned certificate is not a root certificate"))
	}
	if err := verifyServer(presented[i], presented, now); err != nil {
		return nil, stranger(presented, err)
	}
	return presented[i], nil
}

// isRoot reports whether the certificate is an authority that signed itself.
func isRoot(cert *x509.Certificate) bool {
	return cert.IsCA && bytes.Equal(cert.RawIssuer, cert.RawSubject) && cert.CheckSignatureFrom(cert) == nil
}

// verifyServer checks that the first certificate presented leads to the root,
// is valid now, carries ServerName and is meant for servers.
func verifyServer(root *x509.Certificate, presented []*x509.Certificate, now time.Time) error {
	_, err := presented[0].Verify(x509.VerifyOptions{
		DNSName:       ServerName,
		Roots:         poolOf(root),
		Intermediates: poolOf(presented[1:]...),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return apperr.Wrap(apperr.Unauthenticated, err, "the server's certificate does not prove a controller")
	}
	return nil
}

// StrangerError says that a server did not prove to be the controller. Whoever
// looks for the reason finds what it presented here. Its kind is
// Unauthenticated.
type StrangerError struct {
	// Presented is the server's chain, leaf first; it may be empty.
	Presented []*x509.Certificate
	// Err is why the chain was not accepted.
	Err error
}

// Error returns why the chain was not accepted, and whose it is.
func (e *StrangerError) Error() string {
	if len(e.Presented) == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v (its certificate is for %q, issued by %q)", e.Err, NameOf(e.Presented[0]), e.Presented[0].Issuer)
}

// Unwrap returns the reason.
func (e *StrangerError) Unwrap() error { return e.Err }

func stranger(presented []*x509.Certificate, err error) error {
	return &StrangerError{Presented: presented, Err: err}
}

// NameOf returns whom a certificate is for, for people to read: its first DNS
// name, its subject where there is none.
func NameOf(cert *x509.Certificate) string {
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames[0]
	}
	return cert.Subject.String()
}

// Introduction is the first meeting of an agent with its controller, when the
// agent has a pin and nothing else. It is safe for concurrent use.
type Introduction struct {
	pin Pin
	now func() time.Time

	mu   sync.Mutex
	root *x509.Certificate
	err  error
}

// Introduce returns an introduction to the controller with the pinned root.
func Introduce(pin Pin, now func() time.Time) *Introduction {
	return &Introduction{pin: pin, now: now}
}

// TLSConfig returns the client side of the introduction. The connection fails
// before a byte of the application is sent when the pin does not hold.
func (i *Introduction) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The server name sent says which root will do; the name that is
		// verified is always the same.
		ServerName: HintName(i.pin),
		// The library can only verify against roots it has, and the root is
		// what is being introduced: VerifyConnection does the whole of the
		// verification instead, on every connection.
		InsecureSkipVerify: true, //nolint:gosec // see above; the pin is stronger than any public root
		Time:               i.now,
		VerifyConnection: func(state tls.ConnectionState) error {
			root, err := i.pin.Verify(state.PeerCertificates, i.now())
			i.mu.Lock()
			defer i.mu.Unlock()
			i.root, i.err = root, err
			return err
		},
	}
}

// Result returns the root of the last connection, or why it was refused; both
// are nil before the first handshake got that far.
func (i *Introduction) Result() (*x509.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.root, i.err
}

// OfFairlead reports whether a certificate says that it is a controller's. It
// proves nothing: anybody can write that into a certificate.
func OfFairlead(cert *x509.Certificate) bool {
	return slices.Contains(cert.DNSNames, ServerName) && cert.Issuer.CommonName == rootName
}
