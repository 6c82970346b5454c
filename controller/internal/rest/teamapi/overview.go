package teamapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
)

type auditQuery struct {
	TeamPath
	From   time.Time `query:"from" required:"true"`
	To     time.Time `query:"to" required:"true"`
	Skip   int       `query:"skip" required:"true" minimum:"0"`
	Take   int       `query:"take" required:"true" minimum:"1" maximum:"1000"`
	Filter string    `query:"filter" maxLength:"200" doc:"Part of the event, the user's name or e-mail address"`

	ActorType string    `query:"actorType" enum:"user,deployment-token,system" doc:"What kind of actor it was"`
	Actor     uuid.UUID `query:"actor" format:"uuid" doc:"Id of the user, deploy token or trust that it was"`
	Event     string    `query:"event" maxLength:"70" doc:"What was done, e.g. node.create; a noun alone, e.g. node, is all that was done to such"`
	Method    string    `query:"method" enum:"get,post,put,patch,delete" doc:"Method of the request"`
	Entity    uuid.UUID `query:"entity" format:"uuid" doc:"Id of what it was done to, or of what was made"`
}

type auditUser struct {
	ID    uuid.UUID `json:"id"`
	Email string    `json:"email"`
}

type auditEntry struct {
	ActorType string         `json:"actorType" enum:"user,deployment-token,system"`
	Context   string         `json:"context" enum:"http"`
	Method    *string        `json:"method" nullable:"true" enum:"get,post,put,patch,delete"`
	CreatedAt time.Time      `json:"createdAt"`
	User      *auditUser     `json:"user" doc:"Null for who is no user, or no longer one"`
	Name      string         `json:"name" doc:"Who did it"`
	Event     string         `json:"event" doc:"What was done, e.g. node.create"`
	Data      map[string]any `json:"data" doc:"What it was done to; never a secret"`
}

type auditOutputPage struct {
	Items []auditEntry `json:"items"`
	Total int          `json:"total" doc:"How many there are in all; exact unless more than 10000 follow this page, and then how many there are at least"`
}

// OnboardingStep is a first step of a team.
type OnboardingStep struct {
	Done       bool       `json:"done"`
	ResourceID *uuid.UUID `json:"resourceId" nullable:"true" doc:"What the step made; null while it is to be taken"`
}

type dashboardOutput struct {
	Users             int `json:"users"`
	AuditLog          int `json:"auditLog"`
	Projects          int `json:"projects"`
	Versions          int `json:"versions"`
	Deployments       int `json:"deployments"`
	FailedDeployments int `json:"failedDeployments"`
	Onboarding        struct {
		SignUp        OnboardingStep `json:"signUp"`
		CreateTeam    OnboardingStep `json:"createTeam"`
		CreateNode    OnboardingStep `json:"createNode"`
		CreateProject OnboardingStep `json:"createProject"`
		CreateVersion OnboardingStep `json:"createVersion"`
		AddImages     OnboardingStep `json:"addImages"`
		AddDeployment OnboardingStep `json:"addDeployment"`
		Deploy        OnboardingStep `json:"deploy"`
	} `json:"onboarding"`
}

func (a *api) overviewRoutes() {
	add(a, route{method: http.MethodGet, path: "/api/{teamSlug}/audit-log", summary: "List the audit log", tag: "Audit log",
		action: authz.AuditRead}, a.listAudit)
	add(a, route{method: http.MethodGet, path: "/api/{teamSlug}/dashboard", summary: "Get the dashboard", tag: "Dashboard",
		action: authz.DashboardRead}, a.getDashboard)
}

func (a *api) listAudit(ctx context.Context, in *auditQuery) (*ok[auditOutputPage], error) {
	records, total, err := a.deps.Audit.List(ctx, audit.Query{
		From: in.From, To: in.To, Skip: in.Skip, Take: in.Take, Filter: in.Filter,
		ActorKind: actor.Kind(in.ActorType), ActorID: in.Actor, Event: in.Event, Method: in.Method, Entity: in.Entity,
	})
	if err != nil {
		return nil, err
	}
	out := auditOutputPage{Items: make([]auditEntry, len(records)), Total: total}
	for i, r := range records {
		entry := auditEntry{
			ActorType: string(r.ActorKind), Context: "http", CreatedAt: r.At.UTC(), Name: r.ActorName, Event: string(r.Event),
		}
		if r.Method != "" {
			entry.Method = &r.Method
		}
		if r.Email != "" {
			entry.User = &auditUser{r.ActorID, r.Email}
		}
		if err := json.Unmarshal([]byte(r.Data), &entry.Data); err != nil {
			return nil, err
		}
		out.Items[i] = entry
	}
	return respond(out), nil
}

func (a *api) getDashboard(ctx context.Context, _ *TeamPath) (*ok[dashboardOutput], error) {
	d, err := a.deps.Dashboard.Get(ctx)
	if err != nil {
		return nil, err
	}
	out := dashboardOutput{
		Users: d.Users, AuditLog: d.AuditLog, Projects: d.Projects, Versions: d.Versions,
		Deployments: d.Deployments, FailedDeployments: d.FailedDeployments,
	}
	steps := &out.Onboarding
	steps.SignUp, steps.CreateTeam = step(d.UserID), step(d.TeamID)
	steps.CreateNode, steps.CreateProject, steps.CreateVersion = step(d.Node), step(d.Project), step(d.Version)
	steps.AddImages, steps.AddDeployment, steps.Deploy = step(d.Image), step(d.Deployment), step(d.Deployed)
	return respond(out), nil
}

func step(made uuid.UUID) OnboardingStep {
	if made == uuid.Nil {
		return OnboardingStep{}
	}
	return OnboardingStep{Done: true, ResourceID: &made}
}
