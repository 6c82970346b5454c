package artifact_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/artifact"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

// osslsigncode says whether the program takes a script's signature by a root.
func osslsigncode(t *testing.T, script []byte, root []byte) (out string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("osslsigncode")
	if err != nil {
		t.Fatal("this test needs osslsigncode: apt-get install osslsigncode")
	}
	folder := t.TempDir()
	file, roots := filepath.Join(folder, "install.ps1"), filepath.Join(folder, "root.pem")
	for path, content := range map[string][]byte{file: script, roots: pki.EncodeCertificates(root)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := exec.CommandContext(t.Context(), program, "verify", "-CAfile", roots, "-TSA-CAfile", roots, "-in", file).CombinedOutput()
	return string(said), err == nil && bytes.Contains(said, []byte("Signature verification: ok"))
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	authority, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// TestPowerShellScriptsAreSignedForWindows: by a certificate of the controller's
// root; a change of any byte, and any other root, are noticed.
func TestPowerShellScriptsAreSignedForWindows(t *testing.T) {
	authority := newAuthority(t)
	s := scripts(t, "amd64")
	s.CodeSigner = func() (*tls.Certificate, error) {
		return authority.CodeSigning(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	}
	r := request()
	r.ScriptType, r.NodeName = node.PowerShell, "Büro's “node” $(id)"
	script, command, err := s.Render(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(script, []byte("# Installs")) || !bytes.Contains(script, []byte("\r\n\r\nexit (Invoke-Main)\r\n\r\n# SIG # Begin signature block\r\n")) {
		t.Error("the signature does not follow the last line")
	}
	if !strings.Contains(command, "/api/acme/nodes/"+r.NodeID.String()+"/script'") {
		t.Errorf("the command is %s", command)
	}
	if out, ok := osslsigncode(t, script, authority.Root.Raw); !ok {
		t.Fatalf("osslsigncode does not take it:\n%s", out)
	}
	if out, ok := osslsigncode(t, script, newAuthority(t).Root.Raw); ok {
		t.Errorf("osslsigncode takes it by another root:\n%s", out)
	}
	end := bytes.Index(script, []byte("# SIG # Begin"))
	for _, at := range []int{0, 1, end / 7, end / 3, end / 2, end - 5, end - 3, end + 400} {
		changed := bytes.Clone(script)
		changed[at] ^= 1
		if out, ok := osslsigncode(t, changed, authority.Root.Raw); ok {
			t.Errorf("osslsigncode takes it with byte %d changed:\n%s", at, out)
		}
	}
	if _, err := artifact.SignPowerShell(script, &tls.Certificate{}); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("signed twice: %v", err)
	}
	r.RootPath = "/srv/agent"
	if _, _, err := s.Render(r); !apperr.Is(err, apperr.Invalid) || !strings.Contains(err.Error(), "rootPath") {
		t.Errorf("with a root path: %v", err)
	}
}

// TestOperatorsOwnCertificateSigns: one of RSA, by an authority in between.
func TestOperatorsOwnCertificateSigns(t *testing.T) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	between, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	serial := int64(0)
	issue := func(name string, parent *x509.Certificate, public any, signer any, ca bool) *x509.Certificate {
		t.Helper()
		serial++
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			template.KeyUsage = x509.KeyUsageCertSign
		} else {
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	root := issue("Operator root", nil, &rootKey.PublicKey, rootKey, true)
	middle := issue("Operator signing", root, &between.PublicKey, rootKey, true)
	own := issue("Operator", middle, &leaf.PublicKey, between, false)
	signed, err := artifact.SignPowerShell([]byte("Write-Host 'hello'\r\n"), &tls.Certificate{Certificate: [][]byte{own.Raw, middle.Raw}, PrivateKey: leaf})
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := osslsigncode(t, signed, root.Raw); !ok {
		t.Errorf("osslsigncode does not take it:\n%s", out)
	}
}
