package rest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// acmeTimeout bounds each request to the authority.
const acmeTimeout = 30 * time.Second

// ACMEConfig says how certificates are got.
type ACMEConfig struct {
	// Host is the one name that certificates are asked for.
	Host string
	// Email is where the authority may write; empty for nowhere.
	Email string
	// Directory is the authority's directory URL; empty for Let's Encrypt.
	Directory string
	// RootsFile names a PEM file with the roots by which the authority itself is
	// trusted, instead of the system's; empty for those.
	RootsFile string
	// Cache keeps certificates, keys and the account; all controllers share it.
	Cache autocert.Cache
}

// NewACME returns a server configuration whose certificate is got from an
// authority by ACME, by the challenge tls-alpn-01 on the very listener, and
// renewed 30 days before its end. The first handshake waits for it.
func NewACME(c ACMEConfig) (*tls.Config, error) {
	client := &http.Client{Timeout: acmeTimeout}
	if c.RootsFile != "" {
		content, err := os.ReadFile(c.RootsFile)
		if err != nil {
			return nil, fmt.Errorf("read the ACME authority's roots: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("the ACME authority's roots: no certificate in %s", c.RootsFile)
		}
		client.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		}
	}
	manager := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: c.Email, Cache: c.Cache, HostPolicy: autocert.HostWhitelist(c.Host),
		Client: &acme.Client{DirectoryURL: c.Directory, HTTPClient: client, UserAgent: "fairlead"},
	}
	config := manager.TLSConfig()
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
