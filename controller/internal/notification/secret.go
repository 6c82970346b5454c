package notification

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

const (
	// secretPrefix marks the secret of a webhook to people and to scanners.
	secretPrefix = "whsec_"
	secretBytes  = 32
	// rotationGrace is how long messages are signed with the earlier secret,
	// too, after it was changed.
	rotationGrace = 24 * time.Hour
)

// Secret is what signs the messages to a webhook, sealed.
type Secret struct {
	Sealed []byte
	// Previous signs besides until PreviousUntil.
	Previous      []byte
	PreviousUntil time.Time
}

// Vault keeps secrets unreadable for whoever reads the database.
type Vault interface {
	Seal(purpose, text string) []byte
	Open(purpose string, sealed []byte) (string, error)
}

// newSecret makes a secret and returns it in the form it is shown in, once.
func newSecret(vault Vault, id uuid.UUID) (shown string, sealed []byte) {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // documented never to fail
	shown = secretPrefix + base64.StdEncoding.EncodeToString(key)
	return shown, vault.Seal(purpose(id), shown)
}

// keys opens what signs at a time, the present secret first.
func (s Secret) keys(vault Vault, id uuid.UUID, at time.Time) ([][]byte, error) {
	sealed := [][]byte{s.Sealed}
	if len(s.Previous) > 0 && at.Before(s.PreviousUntil) {
		sealed = append(sealed, s.Previous)
	}
	keys := make([][]byte, len(sealed))
	for i, one := range sealed {
		shown, err := vault.Open(purpose(id), one)
		if err != nil {
			return nil, err
		}
		if keys[i], err = base64.StdEncoding.DecodeString(strings.TrimPrefix(shown, secretPrefix)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// purpose binds a secret to its notification.
func purpose(id uuid.UUID) string { return "notification:" + id.String() }

// RotateSecret gives a webhook another secret, shown this once. Until the time
// returned messages are signed with the earlier one, too. Errors: NotFound;
// Precondition for other types.
func (s *Service) RotateSecret(ctx context.Context, id uuid.UUID) (secret string, previousUntil time.Time, err error) {
	n, err := s.find(ctx, authz.NotificationUpdate, id)
	if err != nil {
		return "", time.Time{}, err
	}
	if n.Type != Webhook {
		return "", time.Time{}, apperr.New(apperr.Precondition, "a notification of the type %s has no secret", n.Type).WithField("type", string(n.Type))
	}
	_, who, err := authz.Require(ctx, authz.NotificationUpdate)
	if err != nil {
		return "", time.Time{}, err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		// Whoever rotates at the same moment is waited for, and what they made
		// is the earlier one.
		if err := s.store.LockTeam(ctx, n.TeamID); err != nil {
			return err
		}
		n, err := s.find(ctx, authz.NotificationUpdate, id)
		if err != nil {
			return err
		}
		n.Secret.Previous, n.Secret.PreviousUntil = n.Secret.Sealed, s.now().Add(rotationGrace)
		previousUntil = n.Secret.PreviousUntil
		secret, n.Secret.Sealed = newSecret(s.vault, id)
		n.UpdatedAt, n.UpdatedBy = s.now(), who.Ref()
		if err := s.store.UpdateNotification(ctx, n); err != nil {
			return err
		}
		data := n.forAudit()
		data["secret"] = "changed"
		return s.audit.Record(ctx, authz.NotificationUpdate, data)
	})
	return secret, previousUntil, err
}
