// Package oidctest runs an OpenID Connect issuer, as continuous integration
// services have one, for tests.
package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Issuer publishes its configuration and keys over HTTP and signs tokens.
type Issuer struct {
	// URL is the claim iss.
	URL string

	mu  sync.Mutex
	key *rsa.PrivateKey
	id  string
	// keysAsked counts the requests for the keys.
	keysAsked int
}

// Start runs an issuer until the test ends.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	i.Rotate(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/none", "token_endpoint": i.URL + "/none",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "subject_types_supported": []string{"public"},
			"response_types_supported": []string{"id_token"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.keysAsked++
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: i.key.Public(), KeyID: i.id, Algorithm: "RS256", Use: "sig"},
		}})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// Rotate makes the issuer sign with another key.
func (i *Issuer) Rotate(t testing.TB) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.id = key, rand.Text()
}

// KeysAsked returns how often the keys were asked for.
func (i *Issuer) KeysAsked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keysAsked
}

// Token signs a token that is good for five minutes, with the claims given in
// addition to, or in place of, the usual ones.
func (i *Issuer) Token(t testing.TB, audience string, more map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": i.URL, "aud": audience, "sub": "repo:acme/shop:ref:refs/heads/main", "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(claims, more)
	i.mu.Lock()
	defer i.mu.Unlock()
	unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	unsigned.Header["kid"] = i.id
	signed, err := unsigned.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
