package teamapi

import (
	"context"
	"net/http"
	"time"

	"fairlead.dev/shared/buildinfo"
)

// healthWithin is how long the database may take until it counts as away: who
// asks for the health of something that hangs must not hang as well.
const healthWithin = 5 * time.Second

type healthOutput struct {
	Status        string `json:"status" enum:"unavailable,disrupted,operational"`
	Version       string `json:"version"`
	LastMigration string `json:"lastMigration"`
}

func (a *api) healthRoutes() {
	add(a, route{method: http.MethodGet, path: "/api/health", summary: "Get the service's health", tag: "Health", public: true}, a.health)
}

// health answers 200 always, as clients of this API expect; /readyz is the one
// that fails.
func (a *api) health(ctx context.Context, _ *struct{}) (*ok[healthOutput], error) {
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	out := healthOutput{Status: "operational", Version: buildinfo.Version()}
	migration, err := a.deps.Health.LastMigration(ctx)
	if err != nil {
		out.Status = "disrupted"
	}
	out.LastMigration = migration
	return respond(out), nil
}
