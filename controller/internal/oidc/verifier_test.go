package oidc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fairlead.dev/controller/internal/oidc"
	"fairlead.dev/controller/internal/oidc/oidctest"
	"fairlead.dev/shared/apperr"
)

func TestVerify(t *testing.T) {
	issuer, other := oidctest.Start(t), oidctest.Start(t)
	v := oidc.New(true, time.Now)
	good := issuer.Token(t, "fairlead", map[string]any{"repository_id": 42, "ref_protected": true, "repository": "acme/shop", "nested": map[string]any{"a": 1}})
	identity, err := v.Verify(t.Context(), issuer.URL, good)
	if err != nil {
		t.Fatal(err)
	}
	for claim, want := range map[string]string{"repository_id": "42", "ref_protected": "true", "repository": "acme/shop", "nested": ""} {
		if got := identity.Claims[claim]; got != want {
			t.Errorf("claim %s is %q, want %q", claim, got, want)
		}
	}
	if len(identity.Audience) != 1 || identity.Audience[0] != "fairlead" || !identity.ExpiresAt.After(time.Now()) {
		t.Errorf("identity %+v", identity)
	}
	if got, err := v.Issuer(good); err != nil || got != issuer.URL {
		t.Errorf("issuer %q, %v", got, err)
	}

	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": issuer.URL, "exp": time.Now().Add(time.Hour).Unix()}).
		SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour).Unix()
	for what, token := range map[string]string{
		"of another issuer":                  other.Token(t, "fairlead", nil),
		"that another signed in its name":    other.Token(t, "fairlead", map[string]any{"iss": issuer.URL}),
		"that has expired":                   issuer.Token(t, "fairlead", map[string]any{"exp": past}),
		"that is not good yet":               issuer.Token(t, "fairlead", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"without a signature":                unsigned,
		"with another end of its signature":  good[:len(good)-6] + "AAAAAA",
		"with other claims before its point": strings.Replace(good, ".", ".e30", 1),
	} {
		if _, err := v.Verify(t.Context(), issuer.URL, token); !apperr.Is(err, apperr.Unauthenticated) {
			t.Errorf("a token %s: %v, want unauthenticated", what, err)
		}
	}
}

func TestKeysAreAskedForWhenTheyAreNew(t *testing.T) {
	issuer := oidctest.Start(t)
	v := oidc.New(true, time.Now)
	for range 5 {
		if _, err := v.Verify(t.Context(), issuer.URL, issuer.Token(t, "a", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n := issuer.KeysAsked(); n != 1 {
		t.Errorf("the keys were asked for %d times, want once", n)
	}
	issuer.Rotate(t)
	if _, err := v.Verify(t.Context(), issuer.URL, issuer.Token(t, "a", nil)); err != nil {
		t.Errorf("after the keys changed: %v", err)
	}
}

func TestIssuersThatAreNotAsked(t *testing.T) {
	issuer := oidctest.Start(t)
	if _, err := oidc.New(false, time.Now).Verify(t.Context(), issuer.URL, issuer.Token(t, "a", nil)); !apperr.Is(err, apperr.Unauthenticated) ||
		!strings.Contains(err.Error(), "not a public one") {
		t.Errorf("an issuer on this machine: %v, want a refusal that says why", err)
	}
	if _, err := oidc.New(true, time.Now).Verify(t.Context(), "http://127.0.0.1:1", issuer.Token(t, "a", nil)); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("an issuer that does not answer: %v, want unavailable", err)
	}
	for _, garbage := range []string{"", "a", "a.b.c", "..", strings.Repeat("x", 1<<12)} {
		if got, err := oidc.New(true, time.Now).Issuer(garbage); !apperr.Is(err, apperr.Unauthenticated) {
			t.Errorf("issuer of %.10q is %q, %v", garbage, got, err)
		}
	}
}
