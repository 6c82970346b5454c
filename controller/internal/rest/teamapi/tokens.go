package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/token"
)

// TokenOutput is a personal token without its secret.
type TokenOutput struct {
	ID        uuid.UUID  `json:"id"`
	Name      string     `json:"name"`
	ExpiresAt *time.Time `json:"expiresAt" nullable:"true" doc:"Null for a token that does not expire"`
	CreatedAt time.Time  `json:"createdAt"`
}

type newTokenOutput struct {
	TokenOutput
	Token string `json:"token" doc:"Shown this once"`
}

type createTokenInput struct {
	Body struct {
		Name             string `json:"name" minLength:"1" maxLength:"70"`
		ExpirationInDays int    `json:"expirationInDays" minimum:"0" maximum:"3650" doc:"0 means never"`
	}
}

func (a *api) tokenRoutes() {
	const tag = "Tokens"
	addList(a, route{method: http.MethodGet, path: "/api/tokens", summary: "List personal tokens", tag: tag,
		action: authz.TokenRead}, a.listTokens)
	add(a, route{method: http.MethodPost, path: "/api/tokens", summary: "Create a personal token", tag: tag,
		action: authz.TokenCreate, status: http.StatusCreated, errors: []int{409, 429}, repeats: never}, a.createToken)
	add(a, route{method: http.MethodGet, path: "/api/tokens/{tokenId}", summary: "Get a personal token", tag: tag,
		action: authz.TokenRead}, a.getToken)
	add(a, route{method: http.MethodDelete, path: "/api/tokens/{tokenId}", summary: "Delete a personal token", tag: tag,
		action: authz.TokenDelete, status: http.StatusNoContent}, a.deleteToken)
}

func (a *api) listTokens(ctx context.Context, _ *struct{}) (*ok[[]TokenOutput], error) {
	tokens, err := a.deps.Tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]TokenOutput, len(tokens))
	for i, t := range tokens {
		out[i] = toTokenOutput(t)
	}
	return respond(out), nil
}

func (a *api) createToken(ctx context.Context, in *createTokenInput) (*created[newTokenOutput], error) {
	if err := a.throttleActor(ctx); err != nil {
		return nil, err
	}
	t, secret, err := a.deps.Tokens.Create(ctx, in.Body.Name, in.Body.ExpirationInDays)
	if err != nil {
		return nil, err
	}
	return &created[newTokenOutput]{
		Location: "/api/tokens/" + t.ID.String(),
		Body:     newTokenOutput{toTokenOutput(t), secret},
	}, nil
}

func (a *api) getToken(ctx context.Context, in *tokenPath) (*ok[TokenOutput], error) {
	t, err := a.deps.Tokens.Get(ctx, in.TokenID)
	if err != nil {
		return nil, err
	}
	return respond(toTokenOutput(t)), nil
}

func (a *api) deleteToken(ctx context.Context, in *tokenPath) (*empty, error) {
	return nil, a.deps.Tokens.Delete(ctx, in.TokenID)
}

func toTokenOutput(t token.Token) TokenOutput {
	return TokenOutput{ID: t.ID, Name: t.Name, ExpiresAt: timeOrNil(t.ExpiresAt), CreatedAt: t.CreatedAt}
}
