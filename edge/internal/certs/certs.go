// Package certs gets and renews the certificates of the hosts that are served,
// by ACME, and drops those of hosts that are not any more, without Caddy's
// configuration changing.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"fairlead.dev/shared/edgeapi"
)

// Config is what a Keeper is made of.
type Config struct {
	// Folder holds accounts, keys and certificates.
	Folder string
	// HTTPPort and HTTPSPort are where challenges arrive.
	HTTPPort, HTTPSPort int
	Log                 *zap.Logger
}

// Keeper keeps certificates.
type Keeper struct {
	config Config
	cache  *certmagic.Cache

	mu sync.Mutex
	// ctx is what the work for a host hangs on; end ends it.
	ctx      context.Context
	settings edgeapi.Settings
	magic    *certmagic.Config
	hosts    map[string]context.CancelFunc
	problems map[string]string
}

// New returns a keeper that keeps nothing yet.
func New(config Config) *Keeper {
	return &Keeper{config: config, hosts: map[string]context.CancelFunc{}, problems: map[string]string{}}
}

// Run begins to keep the certificates of hosts and goes on until ctx ends.
// Want may be called before and meanwhile.
func (k *Keeper) Run(ctx context.Context, settings edgeapi.Settings, hosts []string) error {
	k.mu.Lock()
	k.ctx = ctx
	k.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return k.present(), nil },
		Logger:           k.config.Log,
	})
	k.mu.Unlock()
	defer k.cache.Stop()
	if err := k.Configure(settings); err != nil { //nolint:contextcheck // it is kept: hosts come and go later
		return err
	}
	k.Want(hosts) //nolint:contextcheck // as above
	<-ctx.Done()
	return nil
}

func (k *Keeper) present() *certmagic.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.magic
}

// Configure makes the settings those that certificates are gotten by. It fails
// when the roots in them are none; then the earlier ones stay.
func (k *Keeper) Configure(s edgeapi.Settings) error {
	roots, err := trusted(s.ACMERoots)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx == nil {
		return nil // Run is told
	}
	magic := certmagic.New(k.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: k.config.Folder}, Logger: k.config.Log, OnEvent: k.noticed,
	})
	issuer := certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA: s.ACMEDirectory, Email: s.ACMEEmail, Agreed: true, TrustedRoots: roots, Logger: k.config.Log,
		AltHTTPPort: k.config.HTTPPort, AltTLSALPNPort: k.config.HTTPSPort,
	})
	magic.Issuers = []certmagic.Issuer{issuer}
	k.magic, k.settings = magic, s
	for host, cancel := range k.hosts {
		cancel()
		k.manage(host)
	}
	return nil
}

func trusted(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // the image may have none
	}
	if !roots.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("acmeRoots: holds no certificate in PEM")
	}
	return roots, nil
}

// Want makes the hosts those whose certificates are kept.
func (k *Keeper) Want(hosts []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx == nil {
		return // Run is told
	}
	for host, cancel := range k.hosts {
		if !slices.Contains(hosts, host) {
			cancel()
			delete(k.hosts, host)
			delete(k.problems, host)
			k.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: host}})
		}
	}
	for _, host := range hosts {
		if _, kept := k.hosts[host]; !kept {
			k.manage(host)
		}
	}
}

// manage begins to keep the certificate of a host; failures are tried again,
// ever more seldom.
func (k *Keeper) manage(host string) {
	ctx, cancel := context.WithCancel(k.ctx)
	k.hosts[host] = cancel
	if err := k.magic.ManageAsync(ctx, []string{host}); err != nil {
		k.problems[host] = err.Error()
	}
}

// noticed keeps why a certificate could not be gotten.
func (k *Keeper) noticed(_ context.Context, event string, data map[string]any) error {
	host, _ := data["identifier"].(string)
	if host == "" {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch event {
	case "cert_failed":
		if _, kept := k.hosts[host]; kept {
			k.problems[host] = fmt.Sprint(data["error"])
		}
	case "cert_obtained":
		delete(k.problems, host)
	}
	return nil
}

// GetCertificate returns the certificate for a handshake, or nil. It looks at
// what is there and waits for nothing: getting certificates is no business of
// whoever asks for a name.
func (k *Keeper) GetCertificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	k.mu.Lock()
	cache := k.cache
	k.mu.Unlock()
	if cache == nil || hello.ServerName == "" {
		return nil
	}
	choices := cache.AllMatchingCertificates(strings.ToLower(strings.TrimSuffix(hello.ServerName, ".")))
	if len(choices) == 0 {
		return nil
	}
	chosen, err := certmagic.DefaultCertificateSelector(hello, choices)
	if err != nil {
		return nil // none that the client can use
	}
	return &chosen.Certificate
}

// State says how it is with the certificate of each host.
func (k *Keeper) State() map[string]edgeapi.CertInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	state := map[string]edgeapi.CertInfo{}
	for host := range k.hosts {
		info := edgeapi.CertInfo{Problem: k.problems[host]}
		for _, c := range k.cache.AllMatchingCertificates(host) {
			if c.Leaf != nil {
				info.NotAfter = c.Leaf.NotAfter.UTC().Format(time.RFC3339)
			}
		}
		state[host] = info
	}
	return state
}
