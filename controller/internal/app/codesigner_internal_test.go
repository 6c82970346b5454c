package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

// issuer is an authority of an operator's own.
type issuer struct {
	root, between *x509.Certificate
	key           *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	rootKey, root := certify(t, "Operator root", true, nil, nil)
	key, between := certify(t, "Operator signing", true, root, rootKey)
	return issuer{root, between, key}
}

func certify(t *testing.T, name string, authority bool, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if !authority {
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, made
}

// write puts a new certificate of the issuer, with its chain, and its key into
// the files.
func (i issuer) write(t *testing.T, c config.Config) {
	t.Helper()
	key, own := certify(t, "Operator", false, i.between, i.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		c.CodeSigningCert: pki.EncodeCertificates(own.Raw, i.between.Raw),
		c.CodeSigningKey:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// verifies reports whether osslsigncode takes a script by a root.
func (i issuer) verifies(t *testing.T, script []byte) bool {
	t.Helper()
	folder := t.TempDir()
	file, roots := filepath.Join(folder, "install.ps1"), filepath.Join(folder, "root.pem")
	for path, content := range map[string][]byte{file: script, roots: pki.EncodeCertificates(i.root.Raw)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := exec.CommandContext(t.Context(), "osslsigncode", "verify", "-CAfile", roots, "-TSA-CAfile", roots, "-in", file).CombinedOutput()
	if err != nil && !bytes.Contains(said, []byte("ignature verification")) {
		t.Fatalf("this test needs osslsigncode (apt-get install osslsigncode): %v\n%s", err, said)
	}
	return err == nil && bytes.Contains(said, []byte("Signature verification: ok"))
}

// TestTheOperatorsCertificateSignsPowerShell from its files, with its chain, and
// a new one as soon as it is there.
func TestTheOperatorsCertificateSignsPowerShell(t *testing.T) {
	folder := t.TempDir()
	c := config.Config{CodeSigningCert: filepath.Join(folder, "signing.crt"), CodeSigningKey: filepath.Join(folder, "signing.key")}
	signer := codeSigner(c, nil)
	if _, err := signer(); !apperr.Is(err, apperr.Precondition) || !strings.Contains(err.Error(), "FAIRLEAD_CODE_SIGNING_CERT") {
		t.Errorf("without the files: %v", err)
	}
	first, second := newIssuer(t), newIssuer(t)
	for _, current := range []issuer{first, second} {
		current.write(t, c)
		certificate, err := signer()
		if err != nil {
			t.Fatal(err)
		}
		script, err := artifact.SignPowerShell([]byte("Write-Host 'hello'\r\n"), certificate)
		if err != nil {
			t.Fatal(err)
		}
		for name, by := range map[string]issuer{"the first": first, "the second": second} {
			if ok := by.verifies(t, script); ok != (by == current) {
				t.Errorf("by the root of %s it verifies: %t", name, ok)
			}
		}
	}
	second.write(t, config.Config{CodeSigningCert: filepath.Join(folder, "other"), CodeSigningKey: c.CodeSigningKey})
	if _, err := signer(); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("with another certificate's key: %v", err)
	}
}
