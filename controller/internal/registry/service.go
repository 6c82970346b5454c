package registry

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// List returns the team's registries by name.
func (s *Service) List(ctx context.Context) ([]Registry, error) {
	scope, _, err := authz.Require(ctx, authz.RegistryRead)
	if err != nil {
		return nil, err
	}
	return s.store.ListRegistries(ctx, scope.ID)
}

// Get returns one of the team's registries. Errors: NotFound.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Registry, error) {
	scope, _, err := authz.Require(ctx, authz.RegistryRead)
	if err != nil {
		return Registry{}, err
	}
	return s.store.FindRegistry(ctx, scope.ID, id)
}

// Create adds a registry, after asking it whether it is there and takes the
// login. Errors: Invalid, Conflict on the name, Precondition when it does not
// answer.
func (s *Service) Create(ctx context.Context, w Write) (Registry, error) {
	scope, who, err := authz.Require(ctx, authz.RegistryCreate)
	if err != nil {
		return Registry{}, err
	}
	if w.Login == nil {
		w.Login = &Login{}
	}
	return s.insert(ctx, scope.ID, who.Ref(), w)
}

// SetUpTeam gives a new team the public images of Docker Hub. It joins the
// transaction that makes the team.
func (s *Service) SetUpTeam(ctx context.Context, teamID uuid.UUID) error {
	by := "system"
	if who, err := actor.From(ctx); err == nil {
		by = who.Ref()
	}
	_, err := s.insert(ctx, teamID, by, Write{
		Name:    "Docker Hub Library",
		Details: Details{Type: Hub, ImageNamePrefix: "library"},
		Login:   &Login{},
		Known:   true,
	})
	return err
}

func (s *Service) insert(ctx context.Context, teamID uuid.UUID, by string, w Write) (Registry, error) {
	w, err := w.normalize()
	if err != nil {
		return Registry{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Registry{}, err
	}
	at := s.now()
	r := Registry{
		ID: id, TeamID: teamID, Name: w.Name, Description: w.Description, Icon: w.Icon, Details: w.Details,
		CreatedAt: at, CreatedBy: by, UpdatedAt: at, UpdatedBy: by,
	}
	if err := s.setLogin(&r, *w.Login); err != nil {
		return Registry{}, err
	}
	if !w.Known { // before the transaction, which waits for nobody
		if err := s.check(ctx, r.Details, *w.Login); err != nil {
			return Registry{}, err
		}
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.InsertRegistry(ctx, r); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.RegistryCreate, auditData(r))
	})
	return r, err
}

// Update replaces what a registry says. Without a login it keeps the one it
// has, except that a password is not taken to another host: whoever may edit a
// registry could read it there. A registry is asked when its details or its
// login change. Errors: NotFound, Invalid, Conflict on the name, Precondition
// when it does not answer.
func (s *Service) Update(ctx context.Context, id uuid.UUID, w Write) error {
	scope, who, err := authz.Require(ctx, authz.RegistryUpdate)
	if err != nil {
		return err
	}
	if w, err = w.normalize(); err != nil {
		return err
	}
	have, err := s.store.FindRegistry(ctx, scope.ID, id)
	if err != nil {
		return err
	}
	if w.Login != nil {
		if err := s.setLogin(&Registry{ID: id, Details: w.Details}, *w.Login); err != nil {
			return err
		}
	}
	if err := s.checkChange(ctx, have, w); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		r, err := s.store.LockRegistry(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, r.UpdatedAt); err != nil {
			return err
		}
		moved := r.Details.host() != w.Details.host()
		r.Name, r.Description, r.Icon, r.Details = w.Name, w.Description, w.Icon, w.Details
		r.UpdatedAt, r.UpdatedBy = revision.Next(r.UpdatedAt, s.now()), who.Ref()
		switch {
		case w.Login != nil:
			if err := s.setLogin(&r, *w.Login); err != nil {
				return err
			}
		case moved && r.Username != "":
			return loginMissingAtHost()
		case needsLogin(r.Details.Type) && r.Username == "":
			return loginMissing(r.Details.Type)
		}
		if err := s.store.UpdateRegistry(ctx, r); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.RegistryUpdate, auditData(r))
	})
}

// Delete removes a registry that no image refers to. Errors: NotFound;
// Precondition on the id when it is in use.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	scope, _, err := authz.Require(ctx, authz.RegistryDelete)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		r, err := s.store.LockRegistry(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, r.UpdatedAt); err != nil {
			return err
		}
		if err := s.store.DeleteRegistry(ctx, scope.ID, id); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.RegistryDelete, map[string]any{"id": id})
	})
}

// Credentials returns what an engine needs to log in to the registry, nil when
// it needs nothing. It asks for no permission: it serves the sending of a
// release to its node, not a caller.
func (s *Service) Credentials(ctx context.Context, id uuid.UUID) (*spec.RegistryAuth, error) {
	r, err := s.store.FindRegistryOfAnyTeam(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Username == "" {
		return nil, nil
	}
	password, err := s.vault.Open(purpose(id), r.SealedPassword)
	if err != nil {
		return nil, err
	}
	return &spec.RegistryAuth{Server: r.Details.host(), Username: r.Username, Password: password}, nil
}

func (s *Service) setLogin(r *Registry, l Login) error {
	if (l.Username == "") != (l.Password == "") {
		return apperr.InvalidField("details.token", nil, "give both user and token, or neither")
	}
	if l.Username == "" && needsLogin(r.Details.Type) {
		return loginMissing(r.Details.Type)
	}
	if len(l.Username) > maxAddressLength {
		return apperr.InvalidField("details.user", nil, "must be at most %d bytes", maxAddressLength)
	}
	if len(l.Password) > maxPasswordLength {
		return apperr.InvalidField("details.token", nil, "must be at most %d bytes", maxPasswordLength)
	}
	r.Username, r.SealedPassword = l.Username, s.vault.Seal(purpose(r.ID), l.Password)
	return nil
}

// maxPasswordLength has room for a Google service account's private key.
const maxPasswordLength = 16 << 10

// needsLogin reports whether a type of registry opens to nobody without one.
func needsLogin(t Type) bool { return t == GitLab || t == GitHub }

func loginMissing(t Type) error {
	return apperr.InvalidField("details.token", nil, "is missing: a %s registry needs user and token", t)
}

// purpose binds a sealed password to its registry.
func purpose(id uuid.UUID) string { return "registry:" + id.String() }

func auditData(r Registry) map[string]any {
	return map[string]any{"id": r.ID, "name": r.Name, "type": r.Details.Type, "url": r.Details.URL}
}

// PullReference is Reference for a registry's id. Like Credentials it asks for
// no permission: the image that names the registry was found in its team.
func (s *Service) PullReference(ctx context.Context, id uuid.UUID, name, tag string) (string, error) {
	r, err := s.store.FindRegistryOfAnyTeam(ctx, id)
	if err != nil {
		return "", err
	}
	return Reference(r, name, tag)
}
