// Package smtp hands e-mails to the mail server of the installation.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"fairlead.dev/controller/internal/mail"
	"fairlead.dev/shared/apperr"
)

// timeout bounds each step of a conversation.
const timeout = 10 * time.Second

// How the connection is kept from being read.
const (
	StartTLS = "starttls" // upgraded before anything is said, or given up
	TLS      = "tls"      // from the first byte
	Off      = "off"
)

// Config says which server.
type Config struct {
	// Address is host:port.
	Address string
	// Security is StartTLS, TLS or Off.
	Security string
	// From is who mails come from: an address, with a name or without.
	From string
	// Username and Password are empty for a server that wants none.
	Username, Password string
	// RootsFile names a PEM file with roots to trust beside the system's; empty
	// for none.
	RootsFile string
}

// Sender sends e-mails.
type Sender struct {
	client *gomail.Client
	from   netmail.Address
}

// New returns a sender. It connects to nothing yet.
func New(c Config) (*Sender, error) {
	host, portText, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("mail server: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("mail server: port %q: %w", portText, err)
	}
	from, err := netmail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("sender of e-mails %q: %w", c.From, err)
	}
	roots, err := roots(c.RootsFile)
	if err != nil {
		return nil, err
	}
	options := []gomail.Option{
		gomail.WithPort(port), gomail.WithTimeout(timeout),
		gomail.WithTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: roots}),
	}
	switch c.Security {
	case TLS:
		options = append(options, gomail.WithSSL())
	case Off:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.Username != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(c.Username), gomail.WithPassword(c.Password))
	}
	client, err := gomail.NewClient(host, options...)
	if err != nil {
		return nil, fmt.Errorf("mail server: %w", err)
	}
	return &Sender{client: client, from: *from}, nil
}

func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("roots of the mail server: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("roots of the mail server: no certificate in %s", file)
	}
	return pool, nil
}

// Send hands a mail to the server. Errors: Precondition when the server will
// never take it, Unavailable for all else, since settings can be mended.
func (s *Sender) Send(ctx context.Context, m mail.Mail) error {
	letter, err := s.letter(m)
	if err != nil {
		return apperr.Wrap(apperr.Precondition, err, "the e-mail can't be written: %v", err)
	}
	err = s.client.DialAndSendWithContext(ctx, letter)
	var answer *gomail.SendError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer) && answer.ErrorCode() >= 500:
		return apperr.Wrap(apperr.Precondition, err, "the mail server refused the e-mail: %v", err)
	default:
		return apperr.Wrap(apperr.Unavailable, err, "the mail server does not take e-mails now: %v", err)
	}
}

func (s *Sender) letter(m mail.Mail) (*gomail.Msg, error) {
	letter := gomail.NewMsg()
	if err := letter.FromFormat(s.from.Name, s.from.Address); err != nil {
		return nil, err
	}
	if err := letter.To(m.To); err != nil {
		return nil, err
	}
	letter.Subject(m.Subject)
	letter.SetDateWithValue(m.CreatedAt)
	// The same at each try, so that a mail that arrives twice is known to be one.
	_, domain, _ := strings.Cut(s.from.Address, "@")
	letter.SetMessageIDWithValue(fmt.Sprintf("fairlead.%d.%d@%s", m.ID, m.CreatedAt.UnixMicro(), domain))
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // no out-of-office answers
	letter.SetBodyString(gomail.TypeTextPlain, m.Text)
	return letter, nil
}
