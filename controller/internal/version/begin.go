package version

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/project"
	"fairlead.dev/shared/apperr"
)

// First is the name of the version that a versioned project begins with when it
// is made of something that has no versions.
const First = "1.0.0"

// Begin returns the version that a new project's images go to: the hidden one
// of a versionless project, else an incremental one that it makes. Errors are
// those of List and Create.
func (s *Service) Begin(ctx context.Context, p project.Project) (uuid.UUID, error) {
	if p.Type == project.Versioned {
		v, err := s.Create(ctx, p.ID, Incremental, Draft{Name: First})
		return v.ID, err
	}
	hidden, err := s.List(ctx, p.ID)
	if err != nil {
		return uuid.Nil, err
	}
	if len(hidden) != 1 {
		return uuid.Nil, apperr.New(apperr.Internal, "a new versionless project has %d versions", len(hidden))
	}
	return hidden[0].ID, nil
}
