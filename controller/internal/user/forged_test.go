package user_test

import (
	"testing"
	"time"

	"fairlead.dev/controller/internal/token"
	"fairlead.dev/shared/apperr"
)

// Somebody who got hold of the signing key alone still has no token: each must
// be the very one whose hash is kept, and of its kind.
func TestSignedTokensMustBeTheOnesThatWereIssued(t *testing.T) {
	w := setUp(t, true)
	u := w.register(t, "ann@example.com")
	secret, _, err := w.Login(t.Context(), "ann@example.com", password)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := w.issuer.Verify(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	same := token.Claims{ID: issued.ID, Subject: u.ID, Kind: token.Session, IssuedAt: issued.CreatedAt, ExpiresAt: issued.ExpiresAt}
	for name, change := range map[string]func(*token.Claims){
		"longer":                func(c *token.Claims) { c.ExpiresAt = c.ExpiresAt.Add(time.Hour) },
		"of another kind":       func(c *token.Claims) { c.Kind = token.Personal },
		"of a kind of its own":  func(c *token.Claims) { c.Kind = "other" },
		"that never expires":    func(c *token.Claims) { c.ExpiresAt = time.Time{} },
		"with another birthday": func(c *token.Claims) { c.IssuedAt = c.IssuedAt.Add(-time.Hour) },
	} {
		claims := same
		change(&claims)
		forged, _, err := w.issuer.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authenticate(t.Context(), forged); !apperr.Is(err, apperr.Unauthenticated) {
			t.Errorf("a token %s: %v, want unauthenticated", name, err)
		}
	}
	if _, err := w.Authenticate(t.Context(), secret); err != nil {
		t.Errorf("the real one: %v", err)
	}
}
