package teamapi

import (
	"context"
	"net/http"

	"fairlead.dev/shared/buildinfo"
)

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
	out := healthOutput{Status: "operational", Version: buildinfo.Version()}
	migration, err := a.deps.Health.LastMigration(ctx)
	if err != nil {
		out.Status = "disrupted"
	}
	out.LastMigration = migration
	return respond(out), nil
}
