package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
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
// ServerName and be meant for servers. It returns the root. Every failure is
// Unauthenticated.
func (p Pin) Verify(presented []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if len(presented) == 0 {
		return nil, apperr.New(apperr.Unauthenticated, "the server presented no certificate")
	}
	var root *x509.Certificate
	between := x509.NewCertPool()
	for _, cert := range presented {
		if PinOf(cert) == p {
			root = cert
		} else {
			between.AddCert(cert)
		}
	}
	if root == nil {
		return nil, apperr.New(apperr.Unauthenticated,
			"the server does not present the pinned root certificate: it is another controller, or something between here and there terminates TLS")
	}
	if !root.IsCA || !bytes.Equal(root.RawIssuer, root.RawSubject) || root.CheckSignatureFrom(root) != nil {
		return nil, apperr.New(apperr.Unauthenticated, "the pinned certificate is not a root certificate")
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err := presented[0].Verify(x509.VerifyOptions{
		DNSName:       ServerName,
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, apperr.Wrap(apperr.Unauthenticated, err, "the server's certificate does not prove a controller")
	}
	return root, nil
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
		ServerName: ServerName,
		// The library can only verify against roots it has, and the root is
		// what is being introduced: VerifyConnection does the whole of the
		// verification instead, on every connection.
		InsecureSkipVerify: true, //nolint:gosec // see above; the pin is stronger than any public root
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
