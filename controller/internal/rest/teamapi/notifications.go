package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/notification"
)

// NotificationOutput is a notification in lists; its detail has more.
type NotificationOutput struct {
	Type        notification.Type `json:"type" enum:"discord,slack,teams,rocket,mattermost,webhook"`
	ID          uuid.UUID         `json:"id"`
	Name        string            `json:"name"`
	URL         string            `json:"url" doc:"A credential: whoever has it can write there"`
	Active      bool              `json:"active"`
	CreatorName string            `json:"creatorName" doc:"Empty once the account is gone"`
}

// NotificationDetailOutput is a notification and what it is told.
type NotificationDetailOutput struct {
	NotificationOutput
	EnabledEvents []notification.Event `json:"enabledEvents"`
}

// notificationMadeOutput is the detail, and the secret when one was made.
type notificationMadeOutput struct {
	NotificationDetailOutput
	Secret *string `json:"secret" nullable:"true" doc:"What messages to a webhook are signed with, when it is new: shown this once"`
}

type secretOutput struct {
	Secret        string    `json:"secret" doc:"Shown this once"`
	PreviousUntil time.Time `json:"previousUntil" doc:"Until then messages are signed with the earlier secret, too"`
}

type deliveriesInput struct {
	NotificationPath
	Skip int `query:"skip" required:"true" minimum:"0"`
	Take int `query:"take" required:"true" minimum:"1" maximum:"1000"`
}

type attemptOutput struct {
	At         time.Time `json:"at"`
	DurationMs int64     `json:"durationMs"`
	Status     *int      `json:"status" nullable:"true" doc:"What the receiver answered; null for no answer"`
	Error      string    `json:"error" doc:"Empty for one that arrived"`
}

type deliveryOutput struct {
	ID            uuid.UUID          `json:"id" doc:"The webhook-id without msg_ and hyphens"`
	Event         notification.Event `json:"event"`
	Title         string             `json:"title"`
	Status        notification.State `json:"status" enum:"waiting,delivered,failed"`
	CreatedAt     time.Time          `json:"createdAt"`
	NextAttemptAt *time.Time         `json:"nextAttemptAt" nullable:"true" doc:"Null once it is over"`
	Error         string             `json:"error" doc:"Of the last attempt"`
	Attempts      []attemptOutput    `json:"attempts" doc:"Newest first, the last 50"`
}

type deliveriesPage struct {
	Items []deliveryOutput `json:"items"`
	Total int              `json:"total"`
}

// DeliveryPath names a delivery of a notification.
type DeliveryPath struct {
	NotificationPath
	DeliveryID uuid.UUID `path:"deliveryId" format:"uuid"`
}

type notificationBody struct {
	Type          notification.Type    `json:"type" enum:"discord,slack,teams,rocket,mattermost,webhook"`
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
		action: authz.NotificationUpdate, revises: true, errors: []int{409}}, a.updateNotification)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a notification", tag: tag,
		action: authz.NotificationDelete, revises: true, status: http.StatusNoContent}, a.deleteNotification)
	add(a, route{method: http.MethodPost, path: one + "/test", summary: "Test a notification", tag: tag,
		action: authz.NotificationTest, status: http.StatusNoContent, waits: true}, a.testNotification)
	add(a, route{method: http.MethodPost, path: one + "/secret", summary: "Change a webhook's secret", tag: tag,
		action: authz.NotificationUpdate, errors: []int{412, 429}, repeats: never}, a.rotateSecret)
	add(a, route{method: http.MethodGet, path: one + "/deliveries", summary: "List what a notification was sent", tag: tag,
		action: authz.NotificationRead}, a.listDeliveries)
	add(a, route{method: http.MethodPost, path: one + "/deliveries/{deliveryId}/redeliver", summary: "Send a message again", tag: tag,
		action: authz.NotificationTest, status: http.StatusNoContent, errors: []int{412}}, a.redeliver)
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

func (a *api) createNotification(ctx context.Context, in *createNotificationInput) (*created[notificationMadeOutput], error) {
	n, secret, err := a.deps.Notifications.Create(ctx, in.Body.draft())
	if err != nil {
		return nil, err
	}
	return &created[notificationMadeOutput]{
		Location: "/api/" + in.TeamSlug + "/notifications/" + n.ID.String(), Body: notificationMadeOutput{toNotificationDetail(n), textOrNil(secret)},
	}, nil
}

func (a *api) getNotification(ctx context.Context, in *NotificationPath) (*tagged[NotificationDetailOutput], error) {
	n, err := a.deps.Notifications.Get(ctx, in.NotificationID)
	if err != nil {
		return nil, err
	}
	return respondTagged(toNotificationDetail(n), n.UpdatedAt), nil
}

func (a *api) updateNotification(ctx context.Context, in *updateNotificationInput) (*tagged[notificationMadeOutput], error) {
	n, secret, err := a.deps.Notifications.Update(ctx, in.NotificationID, in.Body.draft())
	if err != nil {
		return nil, err
	}
	return respondTagged(notificationMadeOutput{toNotificationDetail(n), textOrNil(secret)}, n.UpdatedAt), nil
}

func (a *api) deleteNotification(ctx context.Context, in *NotificationPath) (*empty, error) {
	return nil, a.deps.Notifications.Delete(ctx, in.NotificationID)
}

func (a *api) testNotification(ctx context.Context, in *NotificationPath) (*empty, error) {
	return nil, a.deps.Notifications.Test(ctx, in.NotificationID)
}

func (a *api) rotateSecret(ctx context.Context, in *NotificationPath) (*ok[secretOutput], error) {
	if err := a.throttleActor(ctx); err != nil {
		return nil, err
	}
	secret, until, err := a.deps.Notifications.RotateSecret(ctx, in.NotificationID)
	if err != nil {
		return nil, err
	}
	return respond(secretOutput{Secret: secret, PreviousUntil: until}), nil
}

func (a *api) listDeliveries(ctx context.Context, in *deliveriesInput) (*ok[deliveriesPage], error) {
	list, total, err := a.deps.Notifications.Deliveries(ctx, in.NotificationID, in.Skip, in.Take)
	if err != nil {
		return nil, err
	}
	return respond(deliveriesPage{Items: each(list, toDeliveryOutput), Total: total}), nil
}

func (a *api) redeliver(ctx context.Context, in *DeliveryPath) (*empty, error) {
	return nil, a.deps.Notifications.Redeliver(ctx, in.NotificationID, in.DeliveryID)
}

func toDeliveryOutput(r notification.Record) deliveryOutput {
	return deliveryOutput{
		ID: r.ID, Event: r.Event, Title: r.Title, Status: r.State, CreatedAt: r.CreatedAt, NextAttemptAt: timeOrNil(r.DueAt), Error: r.Error,
		Attempts: each(r.Attempts, func(a notification.Attempt) attemptOutput {
			out := attemptOutput{At: a.At, DurationMs: a.Took.Milliseconds(), Error: a.Error}
			if a.Status != 0 {
				out.Status = &a.Status
			}
			return out
		}),
	}
}

func toNotificationOutput(n notification.Notification) NotificationOutput {
	return NotificationOutput{Type: n.Type, ID: n.ID, Name: n.Name, URL: n.URL, Active: n.Active, CreatorName: n.CreatorName}
}

func toNotificationDetail(n notification.Notification) NotificationDetailOutput {
	return NotificationDetailOutput{
		NotificationOutput: toNotificationOutput(n), EnabledEvents: append([]notification.Event{}, n.Events...),
	}
}
