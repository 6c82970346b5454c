// Package team is about tenants: everything but users and personal tokens
// belongs to one.
package team

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/mail"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/shared/apperr"
)

// Limits on names, as the team API's clients know them.
const (
	minNameLength = 3
	minSlugLength = 3
	maxSlugLength = 16
)

var slugShape = regexp.MustCompile(`^[a-z0-9-]+$`)

// reserved slugs would hide routes of the API, now or later.
func reserved() []string {
	return []string{"api", "auth", "teams", "tokens", "users", "templates", "health", "metrics", "docs", "artifacts"}
}

// Team is a tenant.
type Team struct {
	ID         uuid.UUID
	Name       string
	Slug       string
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Statistics Statistics
}

// Statistics counts what a team has.
type Statistics struct {
	Users       int
	Projects    int
	Nodes       int
	Versions    int
	Deployments int
}

// Status is how far a person has come into a team.
type Status string

// Statuses; only Verified ones are members.
const (
	Pending  Status = "pending"
	Verified Status = "verified"
	Expired  Status = "expired"
	Declined Status = "declined"
)

// Member is a person in a team, or invited into one.
type Member struct {
	// UserID is that of the account; of somebody invited who has none yet, the
	// one it will get.
	UserID    uuid.UUID
	Status    Status
	Name      string
	Email     string
	Role      actor.Role
	LastLogin time.Time
	// Mail is what became of the last e-mail to somebody invited; its Status is
	// "" when none was sent, or it was long ago.
	Mail InvitationMail
}

// InvitationMail is what became of an e-mail.
type InvitationMail struct {
	Status MailStatus
	// Error is of the last attempt; "" when it was good.
	Error string
	// At is when it ended, or when it was written while it waits.
	At time.Time
}

// MailStatus is where an e-mail is.
type MailStatus string

// Where e-mails are.
const (
	// MailWaiting: it is still to be sent, perhaps after failed attempts.
	MailWaiting MailStatus = "waiting"
	MailSent    MailStatus = "sent"
	// MailFailed: it was given up.
	MailFailed MailStatus = "failed"
)

// Membership is a team as one of its members sees it.
type Membership struct {
	Team
	Role actor.Role
}

// Store keeps teams; it joins the transaction in ctx. The Find methods return
// NotFound errors; inserts and updates Conflicts on name and slug.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertTeam(ctx context.Context, t Team, owner uuid.UUID) error
	UpdateTeam(ctx context.Context, id uuid.UUID, name, slug string, at time.Time) error
	DeleteTeam(ctx context.Context, id uuid.UUID) error
	// FindMembership finds a team by slug among the user's own.
	FindMembership(ctx context.Context, userID uuid.UUID, slug string) (Membership, error)
	FindMembershipByID(ctx context.Context, userID, teamID uuid.UUID) (Membership, error)
	ListMemberships(ctx context.Context, userID uuid.UUID) ([]Membership, error)
	ListMembers(ctx context.Context, teamID uuid.UUID) ([]Member, error)
	PeopleStore
}

// Setup gives a new team what it begins with. It is called in the transaction
// that makes the team; its error undoes it.
type Setup interface {
	SetUpTeam(ctx context.Context, teamID uuid.UUID) error
}

// Config is what a Service needs.
type Config struct {
	Store Store
	Audit *audit.Log
	Now   func() time.Time
	// Setups are called for each new team, in order.
	Setups []Setup
	// Outbox is told of invitations; nil for nobody.
	Outbox *notification.Outbox
	// Mails are how invited people hear of it; nil where the inviter hands the
	// link over.
	Mails *mail.Outbox
	// PublicURL is what people reach the controller at, without a slash.
	PublicURL string
}

// Service manages teams and who is in them.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

func validate(name, slug string) (string, string, error) {
	name, err := naming.Check(name, minNameLength)
	if err != nil {
		return "", "", err
	}
	if len(slug) < minSlugLength || len(slug) > maxSlugLength || !slugShape.MatchString(slug) {
		return "", "", apperr.InvalidField("slug", slug, "must be %d to %d lower-case letters, digits and hyphens", minSlugLength, maxSlugLength)
	}
	if slices.Contains(reserved(), slug) {
		return "", "", apperr.InvalidField("slug", slug, "is reserved")
	}
	return name, slug, nil
}
