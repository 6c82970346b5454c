// Package dashboard counts what a team has and says which first steps it has
// taken.
package dashboard

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
)

// Summary is a team at a glance.
type Summary struct {
	Users             int
	AuditLog          int
	Projects          int
	Versions          int
	Deployments       int
	FailedDeployments int

	// The first steps: the id of what the step made, the zero UUID when it is
	// still to be taken.
	Node, Project, Version, Image, Deployment uuid.UUID
	// Deployed is a deployment that was started.
	Deployed uuid.UUID
}

// Overview is a summary for one person.
type Overview struct {
	Summary
	UserID uuid.UUID
	TeamID uuid.UUID
}

// Store reads the summary.
type Store interface {
	// ReadSummary looks for the first steps along one path: the oldest
	// deployment that was started, or else the oldest; for what that lacks,
	// the oldest of the team.
	ReadSummary(ctx context.Context, teamID uuid.UUID) (Summary, error)
}

// Service shows the dashboard.
type Service struct{ store Store }

// New returns the service.
func New(store Store) *Service { return &Service{store} }

// Get returns the overview of the team in ctx.
func (s *Service) Get(ctx context.Context) (Overview, error) {
	scope, who, err := authz.Require(ctx, authz.DashboardRead)
	if err != nil {
		return Overview{}, err
	}
	summary, err := s.store.ReadSummary(ctx, scope.ID)
	return Overview{Summary: summary, UserID: who.ID, TeamID: scope.ID}, err
}
