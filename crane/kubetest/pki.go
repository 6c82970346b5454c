//go:build linux

package kubetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// credentials are the certificates of one cluster, below dir.
type credentials struct {
	dir string
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

// newCredentials makes a certificate authority and the key that service
// accounts' tokens are signed with.
func newCredentials(dir string) (*credentials, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make room for certificates: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := template("kubetest", "")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	c := &credentials{dir: dir, ca: ca, key: key}
	if err := c.write("ca", der, key); err != nil {
		return nil, err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return c, c.write("accounts", nil, accounts)
}

func template(name, group string) *x509.Certificate {
	subject := pkix.Name{CommonName: name}
	if group != "" {
		subject.Organization = []string{group}
	}
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// issue makes the certificate of one user or server, as files <file>.crt and
// <file>.key.
func (c *credentials) issue(file, name, group string, addresses ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	template := template(name, group)
	for _, address := range addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, address)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca, key.Public(), c.key)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	return c.write(file, der, key)
}

func (c *credentials) write(file string, certificate []byte, key *ecdsa.PrivateKey) error {
	if certificate != nil {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
		if err := os.WriteFile(c.path(file+".crt"), text, 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(c.path(file+".key"), text, 0o600); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	return nil
}

func (c *credentials) path(file string) string { return filepath.Join(c.dir, file) }

// kubeconfig issues a certificate to a user and writes <file>.kubeconfig.
func (c *credentials) kubeconfig(file, user, group string) error {
	if err := c.issue(file, user, group); err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["kubetest"] = &clientcmdapi.Cluster{
		Server:               "https://" + net.JoinHostPort(NodeIP, apiPort),
		CertificateAuthority: c.path("ca.crt"),
	}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificate: c.path(file + ".crt"), ClientKey: c.path(file + ".key")}
	config.Contexts["kubetest"] = &clientcmdapi.Context{Cluster: "kubetest", AuthInfo: user}
	config.CurrentContext = "kubetest"
	if err := clientcmd.WriteToFile(*config, c.path(file+".kubeconfig")); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// nodeName is the one node's name.
const nodeName = "node-1"

// issueAll makes what the parts of the cluster know each other by.
func issueAll(dir string) (*credentials, error) {
	c, err := newCredentials(dir)
	if err != nil {
		return nil, err
	}
	for _, server := range []struct{ file, name, group string }{
		{"apiserver", "kube-apiserver", ""},
		{"kubelet", nodeName, ""},
		{"apiserver-kubelet", "kube-apiserver", "system:masters"},
		{"front-proxy", "front-proxy", ""},
	} {
		err := c.issue(server.file, server.name, server.group,
			NodeIP, "10.96.0.1", "127.0.0.1", nodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc")
		if err != nil {
			return nil, err
		}
	}
	for _, user := range []struct{ file, name, group string }{
		{"admin", "admin", "system:masters"},
		{"controller-manager", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"node", "system:node:" + nodeName, "system:nodes"},
		{"proxy", "system:kube-proxy", ""},
	} {
		if err := c.kubeconfig(user.file, user.name, user.group); err != nil {
			return nil, err
		}
	}
	return c, nil
}
