package teamapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
)

type deploymentEventsInput struct {
	DeploymentPath
	Until       string `query:"until" enum:"outcome" doc:"With outcome, the stream ends when the newest release has its outcome"`
	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"Id of the last event that was seen: the stream goes on after it"`
}

// lookEvery backs up the hints that a log has grown.
const lookEvery = 5 * time.Second

func (a *api) deploymentEventRoutes() {
	add(a, route{
		method: http.MethodGet, path: "/api/{teamSlug}/deployments/{deploymentId}/events", summary: "Follow a deployment", tag: deploymentTag,
		action: authz.DeploymentRead, produces: eventStream,
	}, a.followDeployment)
}

func (a *api) followDeployment(ctx context.Context, in *deploymentEventsInput) (*streamed, error) {
	var after int64
	if in.LastEventID != "" {
		var err error
		if after, err = strconv.ParseInt(in.LastEventID, 10, 64); err != nil || after < 1 {
			return nil, apperr.InvalidField("Last-Event-ID", in.LastEventID, "is not the id of an event of this stream")
		}
	}
	following, err := a.deps.Deployments.Follow(ctx, in.DeploymentID, after)
	if err != nil {
		return nil, err
	}
	return &streamed{func(c huma.Context) {
		defer following.Close()
		w := &eventWriter{out: humagin.Unwrap(c)}
		if w.begin() == nil {
			a.writeDeployment(ctx, w, following, in.Until != "", recheck(ctx, authz.DeploymentRead))
		}
	}}, nil
}

// writeDeployment ends when the deployment, the reader, its right to read or
// the controller does, or with the outcome when that is what is waited for.
func (a *api) writeDeployment(ctx context.Context, w *eventWriter, following *deployment.Following, untilOutcome bool, allowed func(context.Context) error) {
	heartbeat, look, check := time.NewTicker(heartbeatEvery), time.NewTicker(lookEvery), time.NewTicker(recheckEvery)
	defer heartbeat.Stop()
	defer look.Stop()
	defer check.Stop()
	for {
		ended, err := a.writeEntries(ctx, w, following, untilOutcome)
		if ended || err != nil {
			return
		}
		select {
		case <-following.Hints:
		case <-look.C:
		case <-heartbeat.C:
			err = w.heartbeat()
		case <-check.C:
			if err = allowed(ctx); err != nil {
				w.event("end", toEnd(err))
				_ = w.flush() // the last word
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return
		}
	}
}

// writeEntries writes what there is now.
func (a *api) writeEntries(ctx context.Context, w *eventWriter, following *deployment.Following, untilOutcome bool) (ended bool, err error) {
	for {
		entries, err := following.Next(ctx)
		if apperr.Is(err, apperr.Unavailable) {
			return false, nil // the database is away: look again later
		}
		if err != nil {
			w.event("end", toEnd(err))
			_ = w.flush() // the last word
			return true, err
		}
		if len(entries) == 0 {
			return false, nil
		}
		for _, e := range entries {
			w.id(strconv.FormatInt(e.Number, 10))
			w.event("", toLogEntryOutput(e))
			if untilOutcome && following.Outcome(e) {
				w.event("end", endOutput{Reason: "outcome", Message: "the release is " + string(e.State)})
				return true, w.flush()
			}
		}
		if err := w.flush(); err != nil {
			return false, err
		}
	}
}
