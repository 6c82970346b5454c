package smtp_test

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/mail"
	"fairlead.dev/controller/internal/smtp"
	"fairlead.dev/controller/internal/smtp/smtptest"
	"fairlead.dev/shared/apperr"
)

func letter() mail.Mail {
	return mail.Mail{ID: 7, CreatedAt: time.Unix(1700000000, 0), Message: mail.Message{
		To: "nell@example.com", Subject: "Grüße\r\nBcc: all@example.com", Text: "Hello\n.\nNell",
	}}
}

func send(t *testing.T, s *smtptest.Server, change func(*smtp.Config)) error {
	t.Helper()
	c := smtp.Config{
		Address: s.Address, Security: smtp.StartTLS, From: "Fairlead <fairlead@example.com>",
		Username: smtptest.Username, Password: smtptest.Password, RootsFile: s.RootsFile,
	}
	if change != nil {
		change(&c)
	}
	sender, err := smtp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sender.Send(t.Context(), letter())
}

func TestMailsGoThroughAnEncryptedAuthenticatedSession(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *smtptest.Server{smtp.StartTLS: smtptest.New, smtp.TLS: smtptest.NewTLS} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			if err := send(t, s, func(c *smtp.Config) { c.Security = name }); err != nil {
				t.Fatal(err)
			}
			got := s.Received(t, 1)[0]
			if got.From != "fairlead@example.com" || len(got.To) != 1 || got.To[0] != "nell@example.com" || !got.Encrypted || got.Username != smtptest.Username {
				t.Errorf("envelope %+v", got)
			}
			for _, want := range []string{"From: \"Fairlead\" <fairlead@example.com>", "Auto-Submitted: auto-generated", "Message-ID: <fairlead.7.", "Hello\r\n.\r\nNell"} {
				if !strings.Contains(got.Content, want) {
					t.Errorf("no %q in\n%s", want, got.Content)
				}
			}
			if strings.Contains(got.Content, "\nBcc:") {
				t.Errorf("the subject made a header:\n%s", got.Content)
			}
		})
	}
}

func TestNothingIsSaidToTheWrongServer(t *testing.T) {
	s := smtptest.New(t)
	for name, change := range map[string]func(*smtp.Config){
		"untrusted certificate": func(c *smtp.Config) { c.RootsFile = "" },
		"wrong password":        func(c *smtp.Config) { c.Password = "other" },
		"nobody there":          func(c *smtp.Config) { c.Address = "127.0.0.1:1" },
	} {
		t.Run(name, func(t *testing.T) {
			err := send(t, s, change)
			if !apperr.Is(err, apperr.Unavailable) || strings.Contains(err.Error(), smtptest.Password) {
				t.Errorf("error %v, want Unavailable without the password", err)
			}
		})
	}
	plain := smtptest.NewPlain(t)
	if err := send(t, plain, nil); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("a server without STARTTLS: %v, want Unavailable", err)
	}
	if n := len(s.Received(t, 0)) + len(plain.Received(t, 0)); n != 0 {
		t.Errorf("%d mails went out", n)
	}
}

func TestWhatTheServerRefusesForGoodIsNotTriedAgain(t *testing.T) {
	s := smtptest.New(t)
	for code, want := range map[int]apperr.Kind{550: apperr.Precondition, 451: apperr.Unavailable} {
		s.Refuse(code)
		if err := send(t, s, nil); !apperr.Is(err, want) {
			t.Errorf("%d: error %v, want %s", code, err, want)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for name, c := range map[string]smtp.Config{
		"no port":     {Address: "mail.example.com", From: "a@b.co"},
		"no sender":   {Address: "mail.example.com:587"},
		"no such pem": {Address: "mail.example.com:587", From: "a@b.co", RootsFile: "/no/such/file"},
	} {
		if _, err := smtp.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
