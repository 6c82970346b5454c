package deployment_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

func TestOutboxIsToldOfDeploymentsAndHowReleasesEnd(t *testing.T) {
	w := newWorld(t)
	w.Outbox = notification.NewOutbox(w.db, now)
	n := notification.Notification{
		ID: uuid.New(), TeamID: w.team, CreatedAt: now(), UpdatedAt: now(),
		Draft: notification.Draft{
			Name: "chat", Type: notification.Slack, URL: "https://example.com", Active: true,
			Events: []notification.Event{notification.DeploymentCreated, notification.DeploymentStatus},
		},
	}
	if err := w.db.InsertNotification(w.ctx, n); err != nil {
		t.Fatal(err)
	}
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop-prod")
	w.deploy(d, workload.PhaseSuccessful)
	w.start(d)
	w.report(d, workload.PhaseFailed, &workload.Failure{
		Step: workload.StepHealth, Container: "shop-web", LogTail: []string{"no disk"}, Err: apperr.New(apperr.Internal, "it is not healthy"),
	})
	w.report(d, workload.PhaseFailed, nil) // once told is enough
	var told []notification.Delivery
	for range value[int](w, "select count(*) from notification_deliveries") { // a notification's go out one at a time
		next, err := w.db.ClaimDeliveries(t.Context(), now(), now(), 10)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, next...)
	}
	slices.SortFunc(told, func(a, b notification.Delivery) int { return int(a.ID - b.ID) })
	if len(told) != 3 {
		t.Fatalf("told %+v", told)
	}
	for i, want := range []struct {
		event  notification.Event
		title  string
		failed bool
	}{
		{notification.DeploymentCreated, "shop was placed on node node under the prefix shop-prod", false},
		{notification.DeploymentStatus, "shop: release 1 runs on node node", false},
		{notification.DeploymentStatus, "shop: release 2 failed on node node", true},
	} {
		m := told[i].Message
		if m.Event != want.event || m.Title != want.title || m.Failed != want.failed || m.Path != "/deployments/"+d.ID.String() {
			t.Errorf("told %+v, want %+v", m, want)
		}
		if !slices.Contains(m.Facts, notification.Fact{Name: "Prefix", Value: "shop-prod"}) {
			t.Errorf("facts %v", m.Facts)
		}
	}
	if last := told[2].Message; last.Error != "health shop-web: it is not healthy" || !slices.Equal(last.Lines, []string{"no disk"}) {
		t.Errorf("failure %+v", last)
	}
}
