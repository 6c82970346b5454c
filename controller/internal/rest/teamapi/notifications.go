package teamapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/notification"
)

// NotificationOutput is a notification in lists; its detail has more.
type NotificationOutput struct {
	Type        notification.Type `json:"type" enum:"discord,slack,teams,rocket,mattermost"`
	ID          uuid.UUID         `json:"id"`
	Name        string            `json:"name"`
	URL         string            `json:"url" doc:"A credential: whoever has it can write there"`
	Active      bool              `json:"active"`
	CreatorName string            `json:"creatorName" doc:"Empty once the account is gone"`
}

type notificationDetailOutput struct {
	NotificationOutput
	EnabledEvents []notification.Event `json:"enabledEvents"`
}

type notificationBody struct {
	Type          notification.Type    `json:"type" enum:"discord,slack,teams,rocket,mattermost"`
	EnabledEvents []notification.Event `json:"enabledEvents" maxItems:"20" enum:"deployment-created,deployment-status,version-created,node-added,user-invited"`
	Name          string               `json:"name" minLength:"1" maxLength:"70"`
	URL           string               `json:"url" maxLength:"2048" doc:"http or https"`
	Active        bool                 `json:"active" doc:"Only an active one is told"`
}

func (b notificationBody) draft() notification.Draft {
	return notification.Draft{Name: b.Name, Type: b.Type, URL: b.URL, Active: b.Active, Events: b.EnabledEvents}
}

type createNotificationInput struct {
	TeamPath
	Body notificationBody
}

// NotificationPath names a notification.
type NotificationPath struct {
	TeamPath
	NotificationID uuid.UUID `path:"notificationId" format:"uuid"`
}

type updateNotificationInput struct {
	NotificationPath
	Body notificationBody
}

func (a *api) notificationRoutes() {
	const tag = "Notifications"
	const all = "/api/{teamSlug}/notifications"
	const one = all + "/{notificationId}"
	addList(a, route{method: http.MethodGet, path: all, summary: "List notifications", tag: tag,
		action: authz.NotificationRead}, a.listNotifications)
	add(a, route{method: http.MethodPost, path: all, summary: "Create a notification", tag: tag,
		action: authz.NotificationCreate, status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.createNotification)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a notification", tag: tag,
		action: authz.NotificationRead}, a.getNotification)
	add(a, route{method: http.MethodPut, path: one, summary: "Change a notification", tag: tag,
		action: authz.NotificationUpdate, errors: []int{409}}, a.updateNotification)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a notification", tag: tag,
		action: authz.NotificationDelete, status: http.StatusNoContent}, a.deleteNotification)
	add(a, route{method: http.MethodPost, path: one + "/test", summary: "Test a notification", tag: tag,
		action: authz.NotificationTest, status: http.StatusNoContent}, a.testNotification)
}

func (a *api) listNotifications(ctx context.Context, _ *TeamPath) (*ok[[]NotificationOutput], error) {
	list, err := a.deps.Notifications.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]NotificationOutput, len(list))
	for i, n := range list {
		out[i] = toNotificationOutput(n)
	}
	return respond(out), nil
}

func (a *api) createNotification(ctx context.Context, in *createNotificationInput) (*created[notificationDetailOutput], error) {
	n, err := a.deps.Notifications.Create(ctx, in.Body.draft())
	if err != nil {
		return nil, err
	}
	return &created[notificationDetailOutput]{
		Location: "/api/" + in.TeamSlug + "/notifications/" + n.ID.String(), Body: toNotificationDetail(n),
	}, nil
}

func (a *api) getNotification(ctx context.Context, in *NotificationPath) (*ok[notificationDetailOutput], error) {
	n, err := a.deps.Notifications.Get(ctx, in.NotificationID)
	if err != nil {
		return nil, err
	}
	return respond(toNotificationDetail(n)), nil
}

func (a *api) updateNotification(ctx context.Context, in *updateNotificationInput) (*ok[notificationDetailOutput], error) {
	n, err := a.deps.Notifications.Update(ctx, in.NotificationID, in.Body.draft())
	if err != nil {
		return nil, err
	}
	return respond(toNotificationDetail(n)), nil
}

func (a *api) deleteNotification(ctx context.Context, in *NotificationPath) (*empty, error) {
	return nil, a.deps.Notifications.Delete(ctx, in.NotificationID)
}

func (a *api) testNotification(ctx context.Context, in *NotificationPath) (*empty, error) {
	return nil, a.deps.Notifications.Test(ctx, in.NotificationID)
}

func toNotificationOutput(n notification.Notification) NotificationOutput {
	return NotificationOutput{Type: n.Type, ID: n.ID, Name: n.Name, URL: n.URL, Active: n.Active, CreatorName: n.CreatorName}
}

func toNotificationDetail(n notification.Notification) notificationDetailOutput {
	return notificationDetailOutput{
		NotificationOutput: toNotificationOutput(n), EnabledEvents: append([]notification.Event{}, n.Events...),
	}
}
