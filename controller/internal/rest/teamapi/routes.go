package teamapi

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/access"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/compose"
	"fairlead.dev/controller/internal/dashboard"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/controller/internal/idempotency"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/oidctrust"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/template"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/update"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/controller/internal/version"
)

// Deps are the services behind the API.
type Deps struct {
	Log          *slog.Logger
	Users        *user.Service
	Tokens       *token.Service
	Teams        *team.Service
	Nodes        *node.Service
	Commands     *command.Service
	Streams      *bulk.Service
	Deployments  *deployment.Service
	Facts        *report.Facts
	DeployTokens *deploytoken.Service
	Storages     *storage.Service
	Registries   *registry.Service
	Projects     *project.Service
	Versions     *version.Service
	Images       *image.Service
	Templates    *template.Service
	Compose      *compose.Service
	OIDCTrusts   *oidctrust.Service
	Idempotency  *idempotency.Service
	Access       *access.Cache
	Health       Health
	Updates      *update.Service
	// SignScript returns the release key's signature over an install script.
	SignScript func(script []byte) string
	// SignScriptFor returns a detached signature for another tool: "ssh" or
	// "minisign".
	SignScriptFor func(tool string, script []byte) ([]byte, error)
	Now           func() time.Time
	Audit         *audit.Reader
	Notifications *notification.Service
	Dashboard     *dashboard.Service
	// PublicURL is what people reach the controller at, without a slash.
	PublicURL string
	// Secure marks cookies for https only.
	Secure bool
	// LoginAllowed tells whether an address may try to log in or register
	// now, and if not, how long it should wait.
	LoginAllowed func(address string) (bool, time.Duration)
	// TokensAllowed tells the same of a person who makes tokens.
	TokensAllowed func(who string) (bool, time.Duration)
	// ScriptAllowed tells the same of an address that fetches install scripts.
	ScriptAllowed func(address string) (bool, time.Duration)
	// ExchangeAllowed is the same for exchanging identity tokens.
	ExchangeAllowed func(address string) (bool, time.Duration)
}

// Health is what GET /api/health reports.
type Health interface {
	// LastMigration returns the name of the newest applied migration; an error
	// when the database can't be asked.
	LastMigration(ctx context.Context) (string, error)
}

func (a *api) routes() {
	a.healthRoutes()
	a.accountRoutes()
	a.tokenRoutes()
	a.teamRoutes()
	a.peopleRoutes()
	a.overviewRoutes()
	a.notificationRoutes()
	a.nodeRoutes()
	a.adoptRoutes()
	a.updateRoutes()
	a.containerRoutes()
	a.containerEventRoutes()
	a.deploymentRoutes()
	a.registryRoutes()
	a.registryBrowseRoutes()
	a.storageRoutes()
	a.projectRoutes()
	a.versionRoutes()
	a.imageRoutes()
	a.templateRoutes()
	a.composeRoutes()
	a.oidcTrustRoutes()
}

// TeamPath is the start of every route inside a team. The team itself is in
// the context by the time a handler runs. Its name is exported, like that of
// every struct that is embedded in an input or an output, because huma passes
// over embedded fields whose name is not.
type TeamPath struct {
	TeamSlug string `path:"teamSlug" doc:"Slug of the team" example:"acme"`
}

// auditOutput says who made and last changed something.
type auditOutput struct {
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy" doc:"Id of who made it"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy" doc:"Id of who changed it last"`
}

// created is the output of an endpoint that answers 201.
type created[T any] struct {
	Location string `header:"Location"`
	Body     T
}

// ok is the output of an endpoint that answers 200 with a body.
type ok[T any] struct {
	Body T
}

func respond[T any](body T) *ok[T] { return &ok[T]{Body: body} }

// timeOrNil makes the zero time null.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// textOrNil makes the empty text null.
func textOrNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

type tokenPath struct {
	TokenID uuid.UUID `path:"tokenId" format:"uuid"`
}
