package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// CodeSigning makes a key and a certificate that signs scripts for Windows and
// is good for nothing else. The chain ends with the root.
func (a *Authority) CodeSigning(notBefore, notAfter time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make the key that signs scripts: %w", err)
	}
	der, err := create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "Fairlead install scripts"},
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}, a.Root, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate that signs scripts: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.Root.Raw}, PrivateKey: key}, nil
}
