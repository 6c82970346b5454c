// Package oidc checks identity tokens of OpenID Connect issuers, with the keys
// that the issuers publish. It is an edge of the controller: it speaks HTTP to
// the issuers, for the domain's trusts.
//
// https://openid.net/specs/openid-connect-core-1_0.html
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"

	"fairlead.dev/controller/internal/oidctrust"
	"fairlead.dev/controller/internal/outbound"
	"fairlead.dev/shared/apperr"
)

const (
	timeout = 10 * time.Second
	// maxAnswerBytes bounds what an issuer publishes.
	maxAnswerBytes = 1 << 20
	// keepFor is how long an issuer's configuration is good for; its keys are
	// asked for again whenever a token names one that is not known.
	keepFor = time.Hour
	// maxIssuers bounds what is kept.
	maxIssuers = 200
)

// Verifier checks tokens. It keeps the configuration of issuers for a while.
type Verifier struct {
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	issuers map[string]issuer
}

type issuer struct {
	verifier *goidc.IDTokenVerifier
	until    time.Time
}

// New returns a verifier. Only with allowPrivate does it ask issuers at
// addresses that are not public.
func New(allowPrivate bool, now func() time.Time) *Verifier {
	client := outbound.Client(timeout, allowPrivate)
	client.Transport = limited{client.Transport}
	return &Verifier{client: client, now: now, issuers: map[string]issuer{}}
}

// Issuer returns the claim iss of a token without checking anything.
func (v *Verifier) Issuer(token string) (string, error) {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return "", apperr.New(apperr.Unauthenticated, "the identity token is not accepted: it is no JSON web token")
	}
	return claims.Issuer, nil
}

// Verify checks a token's signature, issuer and times, and returns what it
// says. The audience is left to the caller.
func (v *Verifier) Verify(ctx context.Context, iss, token string) (oidctrust.Identity, error) {
	verifier, err := v.of(ctx, iss)
	if err != nil {
		return oidctrust.Identity{}, err
	}
	checked, err := verifier.Verify(goidc.ClientContext(ctx, v.client), token)
	if err != nil {
		return oidctrust.Identity{}, apperr.Wrap(apperr.Unauthenticated, err, "the identity token is not accepted: %v", err)
	}
	var raw map[string]json.RawMessage
	if err := checked.Claims(&raw); err != nil {
		return oidctrust.Identity{}, apperr.Wrap(apperr.Unauthenticated, err, "the identity token is not accepted")
	}
	identity := oidctrust.Identity{Audience: checked.Audience, ExpiresAt: checked.Expiry, Claims: map[string]string{}}
	for name, value := range raw {
		if text, ok := asText(value); ok {
			identity.Claims[name] = text
		}
	}
	return identity, nil
}

// of returns the verifier of an issuer, which is asked for its configuration
// when that is not known or too old.
func (v *Verifier) of(ctx context.Context, iss string) (*goidc.IDTokenVerifier, error) {
	now := v.now()
	v.mu.Lock()
	known, ok := v.issuers[iss]
	v.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.verifier, nil
	}
	provider, err := goidc.NewProvider(goidc.ClientContext(ctx, v.client), iss)
	if err != nil {
		var private outbound.PrivateError
		if errors.As(err, &private) {
			return nil, apperr.New(apperr.Unauthenticated, "the issuer of the identity token is not asked: %v", private)
		}
		return nil, apperr.Wrap(apperr.Unavailable, err, "ask the issuer %s for its configuration", iss)
	}
	made := provider.VerifierContext(goidc.ClientContext(context.WithoutCancel(ctx), v.client), &goidc.Config{SkipClientIDCheck: true, Now: v.now})
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.issuers) >= maxIssuers {
		clear(v.issuers)
	}
	v.issuers[iss] = issuer{made, now.Add(keepFor)}
	return made, nil
}

// asText is a claim's value as conditions compare it.
func asText(value json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text, true
	}
	var number json.Number
	if json.Unmarshal(value, &number) == nil {
		return number.String(), true
	}
	var truth bool
	if json.Unmarshal(value, &truth) == nil {
		return strconv.FormatBool(truth), true
	}
	return "", false
}

// limited bounds the bodies of answers.
type limited struct{ next http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(r)
	if err == nil {
		response.Body = body{io.LimitReader(response.Body, maxAnswerBytes), response.Body}
	}
	return response, err
}

type body struct {
	io.Reader
	io.Closer
}
