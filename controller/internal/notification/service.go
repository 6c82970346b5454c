package notification

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// Store keeps notifications; it joins the transaction in ctx. FindNotification
// returns NotFound for one of another team; inserts and updates a Conflict on
// the name.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	// LockTeam makes changes of one team take turns.
	LockTeam(ctx context.Context, id uuid.UUID) error
	InsertNotification(ctx context.Context, n Notification) error
	UpdateNotification(ctx context.Context, n Notification) error
	DeleteNotification(ctx context.Context, id uuid.UUID) error
	FindNotification(ctx context.Context, teamID, id uuid.UUID) (Notification, error)
	ListNotifications(ctx context.Context, teamID uuid.UUID) ([]Notification, error)
	LogStore
}

// Service manages a team's notifications.
type Service struct {
	store  Store
	sender Sender
	vault  Vault
	audit  *audit.Log
	now    func() time.Time
}

// New returns the service.
func New(store Store, sender Sender, vault Vault, log *audit.Log, now func() time.Time) *Service {
	return &Service{store: store, sender: sender, vault: vault, audit: log, now: now}
}

// List returns the team's notifications by name.
func (s *Service) List(ctx context.Context) ([]Notification, error) {
	scope, _, err := authz.Require(ctx, authz.NotificationRead)
	if err != nil {
		return nil, err
	}
	return s.store.ListNotifications(ctx, scope.ID)
}

// Get returns one of the team's notifications. Errors: NotFound.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Notification, error) {
	return s.find(ctx, authz.NotificationRead, id)
}

// Create adds a notification. A webhook gets a secret, returned this once; for
// other types it is "". Errors: Invalid, Conflict on the name, Precondition
// when the team has too many.
func (s *Service) Create(ctx context.Context, d Draft) (n Notification, secret string, err error) {
	scope, who, err := authz.Require(ctx, authz.NotificationCreate)
	if err != nil {
		return Notification{}, "", err
	}
	if err := d.normalize(); err != nil {
		return Notification{}, "", err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Notification{}, "", err
	}
	at := s.now()
	n = Notification{
		ID: id, TeamID: scope.ID, Draft: d,
		CreatedAt: at, CreatedBy: who.Ref(), CreatorName: who.Name, UpdatedAt: at, UpdatedBy: who.Ref(),
	}
	if d.Type == Webhook {
		secret, n.Secret.Sealed = newSecret(s.vault, id)
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.LockTeam(ctx, scope.ID); err != nil {
			return err
		}
		list, err := s.store.ListNotifications(ctx, scope.ID)
		if err != nil {
			return err
		}
		if len(list) >= maxPerTeam {
			return apperr.New(apperr.Precondition, "a team has at most %d notifications; delete one first", maxPerTeam)
		}
		if err := s.store.InsertNotification(ctx, n); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.NotificationCreate, n.forAudit())
	})
	return n, secret, err
}

// Update replaces what is said about a notification. One that becomes a webhook
// gets a secret, returned this once; a webhook keeps the one it has. Errors:
// NotFound, Invalid, Conflict on the name.
func (s *Service) Update(ctx context.Context, id uuid.UUID, d Draft) (n Notification, secret string, err error) {
	scope, who, err := authz.Require(ctx, authz.NotificationUpdate)
	if err != nil {
		return Notification{}, "", err
	}
	if err := d.normalize(); err != nil {
		return Notification{}, "", err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		// A secret that is changed at the same moment is not put back.
		if err := s.store.LockTeam(ctx, scope.ID); err != nil {
			return err
		}
		if n, err = s.find(ctx, authz.NotificationUpdate, id); err != nil {
			return err
		}
		if err := revision.Check(ctx, n.UpdatedAt); err != nil {
			return err
		}
		n.Draft, n.UpdatedAt, n.UpdatedBy = d, revision.Next(n.UpdatedAt, s.now()), who.Ref()
		switch {
		case d.Type != Webhook:
			n.Secret = Secret{}
		case len(n.Secret.Sealed) == 0:
			secret, n.Secret.Sealed = newSecret(s.vault, id)
		}
		if err := s.store.UpdateNotification(ctx, n); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.NotificationUpdate, n.forAudit())
	})
	return n, secret, err
}

// Delete removes a notification and what it was still to be told. Errors:
// NotFound.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	scope, _, err := authz.Require(ctx, authz.NotificationDelete)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.LockTeam(ctx, scope.ID); err != nil {
			return err
		}
		n, err := s.find(ctx, authz.NotificationDelete, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, n.UpdatedAt); err != nil {
			return err
		}
		if err := s.store.DeleteNotification(ctx, id); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.NotificationDelete, n.forAudit())
	})
}

// Test sends a message to the receiver, active or not, waits for its answer,
// and notes it in the log. Errors: NotFound; Invalid when it did not take the
// message.
func (s *Service) Test(ctx context.Context, id uuid.UUID) error {
	scope, who, err := authz.Require(ctx, authz.NotificationTest)
	if err != nil {
		return err
	}
	n, err := s.find(ctx, authz.NotificationTest, id)
	if err != nil {
		return err
	}
	at := s.now()
	d := Delivery{
		PublicID: uuid.New(), NotificationID: id, TeamSlug: scope.Slug, Type: n.Type, URL: n.URL, Attempts: 1, CreatedAt: at,
		Message: Message{
			TeamID: scope.ID, Event: Test, Title: "This is a test of the notification " + n.Name,
			Facts: []Fact{{"Team", scope.Slug}, {"Sent by", who.Name}}, At: at,
		},
	}
	if n.Type == Webhook {
		if d.Keys, err = n.Secret.keys(s.vault, id, at); err != nil {
			return err
		}
	}
	status, err := s.sender.Send(ctx, d)
	if err := s.store.InsertTest(ctx, d, attempt(at, s.now().Sub(at), status, err)); err != nil {
		return err
	}
	if err != nil {
		return apperr.New(apperr.Invalid, "webhook test failed: %v", err).WithField("url", nil)
	}
	return nil
}

func (s *Service) find(ctx context.Context, action authz.Action, id uuid.UUID) (Notification, error) {
	scope, _, err := authz.Require(ctx, action)
	if err != nil {
		return Notification{}, err
	}
	n, err := s.store.FindNotification(ctx, scope.ID, id)
	if apperr.Is(err, apperr.NotFound) {
		return Notification{}, apperr.New(apperr.NotFound, "no such notification").WithField("notificationId", id)
	}
	return n, err
}

// forAudit leaves the URL out: it is a credential.
func (n Notification) forAudit() map[string]any {
	return map[string]any{"id": n.ID, "name": n.Name, "type": n.Type, "active": n.Active, "events": n.Events}
}
