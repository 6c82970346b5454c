package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/shared/apperr"
)

// firstError is the status from which an answer says that nothing was done, and
// ourFault that from which it says nothing about it.
const (
	firstError = 400
	ourFault   = 500
)

// Service remembers requests by their keys.
type Service struct {
	store  Store
	sealer Sealer
	now    func() time.Time
}

// New returns the service.
func New(store Store, sealer Sealer, now func() time.Time) *Service {
	return &Service{store: store, sealer: sealer, now: now}
}

// Begin claims a key for a request of the caller in ctx. It returns the answer
// when the request was answered before, and otherwise the claim, which End
// takes. The fingerprint is all that the request consists of. Errors: Invalid
// for a malformed key; Conflict with ReasonReused for another request than the
// first, with ReasonInUse for one that has no answer yet; TooMany.
func (s *Service) Begin(ctx context.Context, key, fingerprint string) (Claim, *Answer, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return Claim{}, nil, err
	}
	if key, err = parseKey(key); err != nil {
		return Claim{}, nil, err
	}
	hash := sha256.Sum256([]byte(key))
	mark := sha256.Sum256([]byte(fingerprint))
	c := Claim{ID: uuid.New(), Caller: callerOf(who), KeyHash: hash[:]}
	now := s.now()
	found, claimed, err := s.store.ClaimKey(ctx, Record{
		Claim: c, Fingerprint: s.sealer.Seal(purpose("fingerprint", c), string(mark[:])),
		LeaseUntil: now.Add(Lease), ExpiresAt: now.Add(Lifetime),
	}, now, MaxKeys)
	if err != nil || claimed {
		return c, nil, err
	}
	a, err := s.answer(found, string(mark[:]))
	return Claim{}, a, err
}

func (s *Service) answer(r Record, fingerprint string) (*Answer, error) {
	first, err := s.sealer.Open(purpose("fingerprint", r.Claim), r.Fingerprint)
	if err != nil {
		return nil, err
	}
	switch {
	case first != fingerprint:
		return nil, apperr.New(apperr.Conflict, "the key was sent with another request before; send this one with a key of its own").
			WithField(Field, nil).WithReason(ReasonReused)
	case r.Status == 0 && r.CarriedOut:
		return nil, apperr.New(apperr.Conflict, "the first request with this key was carried out, and its answer is not there yet; try again, "+
			"and if that does not change the answer was lost: look at what there is before you send it with another key").
			WithField(Field, nil).WithReason(ReasonInUse)
	case r.Status == 0:
		return nil, apperr.New(apperr.Conflict, "the first request with this key is under way; try again").
			WithField(Field, nil).WithReason(ReasonInUse)
	}
	body, err := s.sealer.Open(purpose("body", r.Claim), r.Body)
	if err != nil {
		return nil, err
	}
	return &Answer{Status: r.Status, Headers: r.Headers, Body: []byte(body)}, nil
}

// End keeps the answer of a claim's request. After an answer that says that
// nothing was done, and indeed nothing was, the key can be used again.
func (s *Service) End(ctx context.Context, c Claim, a Answer) error {
	if a.Status >= firstError {
		released, err := s.store.ReleaseKey(ctx, c.ID)
		if err != nil || released || a.Status >= ourFault {
			return err
		}
	}
	if len(a.Body) > MaxAnswerBytes {
		return nil // the key stays claimed: better no answer than a second effect
	}
	return s.store.FinishKey(ctx, Record{
		Claim: c, Status: a.Status, Headers: a.Headers, Body: s.sealer.Seal(purpose("body", c), string(a.Body)),
	})
}

// parseKey reads a key as the header has it: a quoted string, as the draft
// wants it, or the bare text that most clients send.
func parseKey(key string) (string, error) {
	key = strings.TrimSpace(key)
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	printable := strings.IndexFunc(key, func(r rune) bool { return r < '!' || r > '~' || r == '"' }) < 0
	if key == "" || len(key) > MaxKeyLength || !printable {
		return "", apperr.InvalidField(Field, nil, "must be 1 to %d visible ASCII characters, such as a UUID", MaxKeyLength)
	}
	return key, nil
}

// callerOf names whose keys they are: a person's, whichever token was sent, or
// a deployment's, since pipelines have a new token for each try.
func callerOf(who actor.Actor) string {
	if who.Kind == actor.DeployToken {
		return string(who.Kind) + ":" + who.DeploymentID.String()
	}
	return string(who.Kind) + ":" + who.ID.String()
}

func purpose(what string, c Claim) string {
	return "idempotency " + what + " " + c.Caller + " " + hex.EncodeToString(c.KeyHash)
}
