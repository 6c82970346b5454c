package bulk_test

import (
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Open decides itself who may have a stream, whatever was asked before it, and
// before it looks for the node.
func TestWhoMayOpenAStream(t *testing.T) {
	service := bulk.NewService(bulk.ServiceConfig{Limits: bulk.Limits{PerTeam: 1, Total: 1}})
	team := func(role actor.Role) actor.Team { return actor.Team{ID: uuid.New(), Slug: "acme", Role: role} }
	ctx := t.Context()
	member := actor.WithTeam(actor.With(ctx, actor.Actor{Kind: actor.User, ID: uuid.New()}), team(actor.Member))
	token := actor.WithTeam(actor.With(ctx, actor.Actor{Kind: actor.DeployToken, ID: uuid.New()}), team(actor.Owner))
	command := bulk.Request{Container: workload.ContainerID{Prefix: "shop", Name: "web"}, Exec: &bulk.Exec{Command: []string{"sh"}}}

	if _, err := service.Open(member, uuid.New(), command); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("a member without the right to run commands: %v", err)
	}
	for name, request := range map[string]bulk.Request{"a command": command, "a log": follow()} {
		if _, err := service.Open(token, uuid.New(), request); !apperr.Is(err, apperr.Forbidden) {
			t.Errorf("%s for a deploy token: %v", name, err)
		}
		if _, err := service.Open(actor.WithTeam(ctx, team(actor.Owner)), uuid.New(), request); !apperr.Is(err, apperr.Unauthenticated) {
			t.Errorf("%s for nobody: %v", name, err)
		}
		if _, err := service.Open(actor.With(ctx, actor.Actor{Kind: actor.User}), uuid.New(), request); !apperr.Is(err, apperr.NotFound) {
			t.Errorf("%s for somebody of no team: %v", name, err)
		}
	}
}
