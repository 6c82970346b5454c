package version

import (
	"context"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/project"
)

func (s *Service) tellCreated(ctx context.Context, v Version, p project.Project, who actor.Actor) error {
	return s.outbox.Add(ctx, notification.Message{
		TeamID: p.TeamID, Event: notification.VersionCreated, Title: "Version " + v.Name + " of " + p.Name + " was made",
		Facts: []notification.Fact{{Name: "Project", Value: p.Name}, {Name: "Version", Value: v.Name}, {Name: "Made by", Value: who.Name}},
		Path:  "/projects/" + p.ID.String() + "/versions/" + v.ID.String(),
	})
}
