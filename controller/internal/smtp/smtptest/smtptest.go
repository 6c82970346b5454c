// Package smtptest runs a mail server on loopback for tests.
package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	server "github.com/emersion/go-smtp"
)

// What the server wants to be told.
const (
	Username = "mailer"
	Password = "letter box"
)

// Mail is one that arrived.
type Mail struct {
	From      string
	To        []string
	Content   string
	Username  string
	Encrypted bool
}

// Server is a mail server that takes mails of who knows the password.
type Server struct {
	Address string
	// RootsFile names a file with the certificate to trust.
	RootsFile string

	mu      sync.Mutex
	mails   []Mail
	refusal int
	arrived chan struct{}
}

// New starts a server that wants STARTTLS. It stops with the test.
func New(t testing.TB) *Server { return start(t, true, false) }

// NewTLS starts a server that speaks TLS from the first byte.
func NewTLS(t testing.TB) *Server { return start(t, true, true) }

// NewPlain starts a server that knows no TLS.
func NewPlain(t testing.TB) *Server { return start(t, false, false) }

func start(t testing.TB, secure, implicit bool) *Server {
	t.Helper()
	s := &Server{arrived: make(chan struct{}, 100)}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Address = l.Addr().String()
	smtp := server.NewServer(server.BackendFunc(func(c *server.Conn) (server.Session, error) {
		return &session{server: s, conn: c}, nil
	}))
	smtp.Domain, smtp.AllowInsecureAuth = "localhost", !secure
	if secure {
		certificate := s.certificate(t)
		smtp.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	if implicit {
		l = tls.NewListener(l, smtp.TLSConfig)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = smtp.Serve(l) // ends when it is closed
	}()
	t.Cleanup(func() {
		_ = smtp.Close()
		<-ended
	})
	return s
}

// Refuse has mails refused with a code from now on; 0 ends that.
func (s *Server) Refuse(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = code
}

// Received waits until as many mails arrived, and returns all there are.
func (s *Server) Received(t testing.TB, count int) []Mail {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		mails := append([]Mail{}, s.mails...)
		s.mu.Unlock()
		if len(mails) >= count {
			return mails
		}
		select {
		case <-s.arrived:
		case <-deadline.C:
			t.Fatalf("waited too long for %d mails; there are %d", count, len(mails))
		}
	}
}

// session is one conversation.
type session struct {
	server *Server
	conn   *server.Conn
	mail   Mail
}

// AuthMechanisms lists what the server takes.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth checks who is there.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != Username || password != Password {
			return server.ErrAuthFailed
		}
		s.mail.Username = username
		return nil
	}), nil
}

// Mail begins a mail.
func (s *session) Mail(from string, _ *server.MailOptions) error {
	if s.mail.Username == "" {
		return server.ErrAuthRequired
	}
	s.mail.From = from
	return nil
}

// Rcpt takes a recipient.
func (s *session) Rcpt(to string, _ *server.RcptOptions) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.refusal != 0 {
		return &server.SMTPError{Code: s.server.refusal, Message: "no"}
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

// Data takes the mail.
func (s *session) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := s.mail
	m.Content = string(content)
	_, m.Encrypted = s.conn.TLSConnectionState()
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, m)
	s.server.mu.Unlock()
	select {
	case s.server.arrived <- struct{}{}:
	default:
	}
	return nil
}

// Reset forgets a mail that was begun.
func (s *session) Reset() { s.mail = Mail{Username: s.mail.Username} }

// Logout ends the conversation.
func (s *session) Logout() error { return nil }

// certificate makes one for loopback and writes it to RootsFile.
func (s *Server) certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail server of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.RootsFile = filepath.Join(t.TempDir(), "mail.pem")
	if err := os.WriteFile(s.RootsFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}
