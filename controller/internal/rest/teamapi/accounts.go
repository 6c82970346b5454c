package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
)

type registerInput struct {
	Address
	Body struct {
		Email      string `json:"email" format:"email" maxLength:"254"`
		Password   string `json:"password" doc:"10 to 256 characters"`
		Name       string `json:"name,omitempty" maxLength:"70" doc:"Default: the part of the address before the @"`
		SetupToken string `json:"setupToken,omitempty" doc:"From the link printed at the first start; needed for the first account only"`

		InvitationToken string `json:"invitationToken,omitempty" maxLength:"256" doc:"From the link of an invitation, behind #invitation=; lets its address register where registration is closed, and answer the invitation"`
	}
}

type userOutput struct {
	ID    uuid.UUID `json:"id"`
	Email string    `json:"email"`
	Name  string    `json:"name"`
	Admin bool      `json:"admin" doc:"Administrator of the installation"`
}

type loginInput struct {
	Address
	Body struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
}

type loginBody struct {
	Token     string    `json:"token" doc:"For the header Authorization: Bearer …"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type loginOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      loginBody
}

type logoutOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

// SelfTeam names a team to one of its members.
type SelfTeam struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	Slug string    `json:"slug"`
}

type selfMembership struct {
	SelfTeam
	Role actor.Role `json:"role" enum:"owner,admin,user"`
}

type selfOutput struct {
	User struct {
		ID   uuid.UUID `json:"id"`
		Name string    `json:"name"`
	} `json:"user"`
	Teams       []selfMembership `json:"teams"`
	Invitations []SelfTeam       `json:"invitations"`
}

// Address is the caller's network address, for rate limits.
type Address struct {
	remote string
}

// Resolve reads the address the server saw; huma calls it.
func (a *Address) Resolve(ctx huma.Context) []error {
	a.remote = ctx.RemoteAddr()
	return nil
}

func (a *api) accountRoutes() {
	const tag = "Accounts"
	add(a, route{method: http.MethodPost, path: "/api/auth/register", summary: "Register an account", tag: tag,
		public: true, status: http.StatusCreated, errors: []int{403, 409, 429}}, a.register)
	add(a, route{method: http.MethodPost, path: "/api/auth/login", summary: "Log in", tag: tag,
		public: true, errors: []int{401, 429}}, a.login)
	add(a, route{method: http.MethodPost, path: "/api/auth/logout", summary: "Log out", tag: tag,
		action: authz.SelfLogout, status: http.StatusNoContent}, a.logout)
	add(a, route{method: http.MethodPost, path: "/api/users/me", summary: "Get the caller and their teams", tag: tag,
		action: authz.SelfRead}, a.self)
}

func (a *api) register(ctx context.Context, in *registerInput) (*created[userOutput], error) {
	if err := throttle(a.deps.LoginAllowed, in.Address); err != nil {
		return nil, err
	}
	u, err := a.deps.Users.Register(ctx, user.RegisterCommand{
		Email: in.Body.Email, Password: in.Body.Password, Name: in.Body.Name,
		SetupToken: in.Body.SetupToken, InvitationToken: in.Body.InvitationToken,
	})
	if err != nil {
		return nil, err
	}
	return &created[userOutput]{
		Location: "/api/users/me",
		Body:     userOutput{ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin},
	}, nil
}

func (a *api) login(ctx context.Context, in *loginInput) (*loginOutput, error) {
	if err := throttle(a.deps.LoginAllowed, in.Address); err != nil {
		return nil, err
	}
	secret, expiresAt, err := a.deps.Users.Login(ctx, in.Body.Email, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return &loginOutput{
		SetCookie: a.sessionCookie(secret, expiresAt),
		Body:      loginBody{Token: secret, ExpiresAt: expiresAt},
	}, nil
}

func (a *api) logout(ctx context.Context, _ *struct{}) (*logoutOutput, error) {
	if err := a.deps.Users.Logout(ctx); err != nil {
		return nil, err
	}
	return &logoutOutput{SetCookie: a.sessionCookie("", time.Unix(0, 0))}, nil
}

func (a *api) self(ctx context.Context, _ *struct{}) (*ok[selfOutput], error) {
	who, err := authz.RequireSelf(ctx, authz.SelfRead)
	if err != nil {
		return nil, err
	}
	memberships, err := a.deps.Teams.List(ctx)
	if err != nil {
		return nil, err
	}
	invitations, err := a.deps.Teams.Invitations(ctx)
	if err != nil {
		return nil, err
	}
	out := selfOutput{Teams: []selfMembership{}, Invitations: []SelfTeam{}}
	out.User.ID, out.User.Name = who.ID, who.Name
	for _, m := range memberships {
		out.Teams = append(out.Teams, selfMembership{SelfTeam{m.ID, m.Name, m.Slug}, m.Role})
	}
	for _, t := range invitations {
		out.Invitations = append(out.Invitations, SelfTeam{t.ID, t.Name, t.Slug})
	}
	return respond(out), nil
}

func (a *api) sessionCookie(value string, expires time.Time) http.Cookie {
	//nolint:gosec // Secure follows the scheme of the public URL: http on one machine, https elsewhere
	return http.Cookie{
		Name: SessionCookie, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, Secure: a.deps.Secure, SameSite: http.SameSiteLaxMode,
	}
}

// throttle refuses an address that tries too often.
func throttle(allow func(address string) (bool, time.Duration), from Address) error {
	allowed, wait := allow(from.remote)
	if allowed {
		return nil
	}
	return apperr.New(apperr.TooMany, "too many attempts from this address; try again in %s", wait.Round(time.Second)).WithAfter(wait)
}

// throttleActor refuses a person who makes too many secrets.
func (a *api) throttleActor(ctx context.Context) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	allowed, wait := a.deps.TokensAllowed(who.ID.String())
	if allowed {
		return nil
	}
	return apperr.New(apperr.TooMany, "too many tokens made; try again in %s", wait.Round(time.Second)).WithAfter(wait)
}
