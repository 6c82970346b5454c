package deployment

import (
	"context"
	"fmt"
	"strconv"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/shared/workload"
)

func (d Deployment) facts() []notification.Fact {
	return []notification.Fact{
		{Name: "Project", Value: d.Project.Name}, {Name: "Version", Value: d.Version.Name},
		{Name: "Node", Value: d.Node.Name}, {Name: "Prefix", Value: d.Prefix},
	}
}

func (d Deployment) path() string { return "/deployments/" + d.ID.String() }

func (s *Service) tellCreated(ctx context.Context, d Deployment) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	return s.Outbox.Add(ctx, notification.Message{
		TeamID: d.TeamID, Event: notification.DeploymentCreated, Path: d.path(),
		Title: fmt.Sprintf("%s was placed on node %s under the prefix %s", d.Project.Name, d.Node.Name, d.Prefix),
		Facts: append(d.facts(), notification.Fact{Name: "Created by", Value: who.Name}),
	})
}

// endedMessage tells how a release ended; failure is nil for success.
func endedMessage(d Deployment, release int64, failure *workload.Failure) notification.Message {
	m := notification.Message{
		TeamID: d.TeamID, Event: notification.DeploymentStatus, Path: d.path(),
		Title: fmt.Sprintf("%s: release %d runs on node %s", d.Project.Name, release, d.Node.Name),
		Facts: append(d.facts(), notification.Fact{Name: "Release", Value: strconv.FormatInt(release, 10)}),
	}
	if failure != nil {
		m.Title = fmt.Sprintf("%s: release %d failed on node %s", d.Project.Name, release, d.Node.Name)
		m.Failed, m.Error, m.Lines = true, failure.Error(), failure.LogTail
	}
	return m
}
