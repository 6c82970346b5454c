package pki_test

import (
	"testing"
	"time"

	"fairlead.dev/shared/pki"
)

// FuzzReadAgent: what a controller sends as a certificate.
func FuzzReadAgent(f *testing.F) {
	authority, err := pki.NewAuthority(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	chain, err := authority.Agent("agent-1", &key.PublicKey, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(chain[0])
	f.Add(authority.Root.Raw)
	f.Add(chain[0][:100])
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, id, err := pki.ReadAgent([][]byte{der})
		if err == nil && (leaf == nil || id == "" || leaf.IsCA) {
			t.Fatalf("certificate %v of %q", leaf, id)
		}
		_, _ = pki.DecodeCertificates(der)
		_, _ = pki.DecodeKey(der)
		_, _ = pki.ParsePin(string(der))
	})
}
