// Package notification tells people outside, in their chat, what happens in
// their team. What is to be told is written down in the transaction of the act
// and sent afterwards, so that nothing that happened goes untold, nothing is
// told that did not happen, and no act waits for a receiver.
package notification

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

// Type is what kind of receiver a URL belongs to.
type Type string

// Types.
const (
	Discord    Type = "discord"
	Slack      Type = "slack"
	Teams      Type = "teams"
	Rocket     Type = "rocket"
	Mattermost Type = "mattermost"
	// Webhook is any program that reads JSON and checks signatures, as
	// https://www.standardwebhooks.com has it.
	Webhook Type = "webhook"
)

// Types lists every type.
func Types() []Type { return []Type{Discord, Slack, Teams, Rocket, Mattermost, Webhook} }

// Event is something that can be told.
type Event string

// Events. DeploymentStatus is how a release of a deployment ended.
const (
	DeploymentCreated Event = "deployment-created"
	DeploymentStatus  Event = "deployment-status"
	VersionCreated    Event = "version-created"
	NodeAdded         Event = "node-added"
	UserInvited       Event = "user-invited"
)

// Test is the event of the messages that people send to try a receiver.
const Test Event = "test"

// Events lists every event that a notification can ask for.
func Events() []Event {
	return []Event{DeploymentCreated, DeploymentStatus, VersionCreated, NodeAdded, UserInvited}
}

const (
	maxURLLength = 2048
	// maxPerTeam bounds how many receivers one act is told to.
	maxPerTeam = 50
)

// Notification is a receiver and what it is told.
type Notification struct {
	ID     uuid.UUID
	TeamID uuid.UUID
	Draft
	// Secret signs what a Webhook is sent; nothing for other types.
	Secret    Secret
	CreatedAt time.Time
	CreatedBy string
	// CreatorName is the name of who made it; empty once the account is gone.
	CreatorName string
	UpdatedAt   time.Time
	UpdatedBy   string
}

// Draft is what a person says about a notification.
type Draft struct {
	Name string
	Type Type
	// URL is a credential; it is in no log and no error.
	URL    string
	Active bool
	Events []Event
}

func (d *Draft) normalize() error {
	var err error
	if d.Name, err = naming.Check(d.Name, 1); err != nil {
		return err
	}
	if !slices.Contains(Types(), d.Type) {
		return apperr.InvalidField("type", string(d.Type), "must be one of %v", Types())
	}
	u, err := url.Parse(d.URL)
	if err != nil || len(d.URL) > maxURLLength || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return apperr.InvalidField("url", nil, "must be an http or https address of at most %d bytes, without user and password", maxURLLength)
	}
	slices.Sort(d.Events)
	d.Events = slices.Compact(d.Events)
	for _, e := range d.Events {
		if !slices.Contains(Events(), e) {
			return apperr.InvalidField("enabledEvents", string(e), "must be of %v", Events())
		}
	}
	return nil
}

// Message is what is told.
type Message struct {
	TeamID uuid.UUID
	Event  Event
	// Title says in one sentence what happened.
	Title string
	// Failed marks bad news.
	Failed bool
	Facts  []Fact
	// Error is what went wrong; Lines are the last lines of a log.
	Error string
	Lines []string
	// Path is where it can be seen, below the team; "/deployments/<id>".
	Path string
	At   time.Time
}

// Fact is a name and a value.
type Fact struct{ Name, Value string }

// Delivery is a message on its way to one receiver.
type Delivery struct {
	ID int64
	// PublicID is what the API and the receiver know it by.
	PublicID       uuid.UUID
	NotificationID uuid.UUID
	TeamSlug       string
	Type           Type
	URL            string
	// Secret is sealed; Keys are what it opens to, of which the first is the
	// present one.
	Secret  Secret
	Keys    [][]byte
	Message Message
	// Attempts counts this one too.
	Attempts  int
	CreatedAt time.Time
}

// Sender brings a message to a receiver, and returns the status it answered
// with, 0 for no answer. Errors: Unavailable when another try may succeed; any
// other kind when none will. No error holds the URL.
type Sender interface {
	Send(ctx context.Context, d Delivery) (status int, err error)
}
