package rest

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// CertificateFiles serves a certificate from two files and reads them again
// when either changed, so that renewing them needs no restart.
type CertificateFiles struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	version [2]time.Time
}

// NewCertificateFiles reads the files once, so that a mistake shows at start.
func NewCertificateFiles(cert, key string) (*CertificateFiles, error) {
	c := &CertificateFiles{cert: cert, key: key}
	_, err := c.current(nil)
	return c, err
}

// TLSConfig returns a server configuration that uses the files.
func (c *CertificateFiles) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.current, NextProtos: []string{"h2", "http/1.1"}}
}

func (c *CertificateFiles) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	version, err := modified(c.cert, c.key)
	if err == nil && c.loaded != nil && version == c.version {
		return c.loaded, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.cert, c.key)
	}
	if err != nil {
		if c.loaded != nil {
			return c.loaded, nil // half replaced: the old one serves until both are there
		}
		return nil, fmt.Errorf("read the HTTP certificate: %w", err)
	}
	c.loaded, c.version = &pair, version
	return c.loaded, nil
}

func modified(files ...string) (times [2]time.Time, err error) {
	for i, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return times, err
		}
		times[i] = info.ModTime()
	}
	return times, nil
}
