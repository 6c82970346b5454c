// Package authz decides what a member of a team may do, from one table that
// denies what it does not name. Services call Require first thing.
package authz

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/shared/apperr"
)

// Action is something a caller can ask for, named "noun.verb".
type Action string

// Actions inside a team.
const (
	TeamRead   Action = "team.read"
	TeamUpdate Action = "team.update"
	TeamDelete Action = "team.delete"
	TeamLeave  Action = "team.leave"

	MemberInvite Action = "member.invite"
	MemberUpdate Action = "member.update"
	MemberRemove Action = "member.remove"

	AuditRead     Action = "audit.read"
	DashboardRead Action = "dashboard.read"

	NotificationRead   Action = "notification.read"
	NotificationCreate Action = "notification.create"
	NotificationUpdate Action = "notification.update"
	NotificationDelete Action = "notification.delete"
	NotificationTest   Action = "notification.test"

	RegistryRead   Action = "registry.read"
	RegistryCreate Action = "registry.create"
	RegistryUpdate Action = "registry.update"
	RegistryDelete Action = "registry.delete"

	ProjectRead   Action = "project.read"
	ProjectCreate Action = "project.create"
	ProjectUpdate Action = "project.update"
	ProjectDelete Action = "project.delete"

	VersionRead   Action = "version.read"
	VersionCreate Action = "version.create"
	VersionUpdate Action = "version.update"
	VersionDelete Action = "version.delete"

	ImageRead   Action = "image.read"
	ImageCreate Action = "image.create"
	ImageUpdate Action = "image.update"
	ImageDelete Action = "image.delete"

	NodeRead    Action = "node.read"
	NodeCreate  Action = "node.create"
	NodeUpdate  Action = "node.update"
	NodeDelete  Action = "node.delete"
	NodeInstall Action = "node.install"
	NodeRevoke  Action = "node.revoke"
	NodeAdopt   Action = "node.adopt"
	NodeReadmit Action = "node.readmit"
	// NodeUpgrade replaces agents by another build.
	NodeUpgrade Action = "node.upgrade"

	ContainerRead   Action = "container.read"
	ContainerAct    Action = "container.act"
	ContainerDelete Action = "container.delete"
	ContainerExec   Action = "container.exec"

	DeploymentRead   Action = "deployment.read"
	DeploymentCreate Action = "deployment.create"
	DeploymentUpdate Action = "deployment.update"
	DeploymentDelete Action = "deployment.delete"
	DeploymentStart  Action = "deployment.start"
	// DeploymentPlan asks the node what a start would do.
	DeploymentPlan     Action = "deployment.plan"
	DeploymentRollback Action = "deployment.rollback"

	ReleaseHold   Action = "release.hold"
	ReleaseUnhold Action = "release.unhold"

	DeployTokenCreate Action = "deployment-token.create"
	DeployTokenDelete Action = "deployment-token.delete"

	OIDCTrustRead   Action = "oidc-trust.read"
	OIDCTrustCreate Action = "oidc-trust.create"
	OIDCTrustDelete Action = "oidc-trust.delete"
	// OIDCTrustExchange is in no row of the table: the identity token decides.
	OIDCTrustExchange Action = "oidc-trust.exchange"

	StorageRead   Action = "storage.read"
	StorageCreate Action = "storage.create"
	StorageUpdate Action = "storage.update"
	StorageDelete Action = "storage.delete"
)

// ComposeImport makes a project of a Compose file; what it makes is checked once more.
const ComposeImport Action = "compose.import"

// Actions any authenticated caller may take for itself, outside of teams.
const (
	TeamList    Action = "team.list"
	TeamCreate  Action = "team.create"
	TokenRead   Action = "token.read"
	TokenCreate Action = "token.create"
	TokenDelete Action = "token.delete"
	SelfRead    Action = "self.read"
	SelfLogout  Action = "self.logout"

	InvitationAccept  Action = "invitation.accept"
	InvitationDecline Action = "invitation.decline"

	TemplateRead Action = "template.read"
	// TemplateUse is checked once more for each thing it makes in a team.
	TemplateUse Action = "template.use"
)

// Events that the audit log names and nobody can ask for.
const (
	// SelfRegister and SelfLogin: somebody made an account or began a session,
	// who was nobody before.
	SelfRegister Action = "self.register"
	SelfLogin    Action = "self.login"
	// AgentStreamRefused: an agent came with the id of a stream that it was not
	// asked for.
	AgentStreamRefused Action = "agent.stream-refused"
	// AgentReportRefused: an agent spoke of what belongs to another node.
	AgentReportRefused Action = "agent.report-refused"
	// RootPrepare, RootPromote and RootRetire: a step of replacing the private
	// root was taken on the controller's own command line.
	RootPrepare Action = "root.prepare"
	RootPromote Action = "root.promote"
	RootRetire  Action = "root.retire"
)

// own holds what needs no team.
func own(a Action) bool {
	switch a {
	case TeamList, TeamCreate, TokenRead, TokenCreate, TokenDelete, SelfRead, SelfLogout,
		InvitationAccept, InvitationDecline, TemplateRead, TemplateUse:
		return true
	default:
		return false
	}
}

// least names the least role that may take an action inside a team. What puts
// credentials into a node, a registry or a storage, shows one (the URL of a webhook is
// one), takes a node away, or is about people is for admins; building and
// deploying is for every member.
func least(a Action) (actor.Role, bool) {
	switch a {
	case TeamRead, TeamLeave, DashboardRead, RegistryRead, ProjectRead, VersionRead, ImageRead, NodeRead, ContainerRead, DeploymentRead,
		ProjectCreate, ProjectUpdate, ComposeImport, VersionCreate, VersionUpdate, VersionDelete,
		ImageCreate, ImageUpdate, ImageDelete, ContainerAct,
		DeploymentCreate, DeploymentUpdate, DeploymentDelete, DeploymentStart,
		DeploymentPlan, DeploymentRollback, ReleaseHold, ReleaseUnhold,
		DeployTokenCreate, DeployTokenDelete, OIDCTrustRead, StorageRead:
		return actor.Member, true
	case TeamUpdate, MemberInvite, MemberUpdate, MemberRemove, AuditRead,
		NotificationRead, NotificationCreate, NotificationUpdate, NotificationDelete, NotificationTest,
		RegistryCreate, RegistryUpdate, RegistryDelete, StorageCreate, StorageUpdate, StorageDelete, ProjectDelete,
		OIDCTrustCreate, OIDCTrustDelete,
		NodeCreate, NodeUpdate, NodeDelete, NodeInstall, NodeRevoke, NodeAdopt, NodeReadmit, NodeUpgrade, ContainerDelete, ContainerExec:
		return actor.Admin, true
	case TeamDelete:
		return actor.Owner, true
	default:
		return "", false
	}
}

func rank(r actor.Role) int {
	switch r {
	case actor.Owner:
		return 3
	case actor.Admin:
		return 2
	case actor.Member:
		return 1
	default:
		return 0
	}
}

// Allowed reports whether a member with the role may take the action. An
// action outside the table is allowed to nobody.
func Allowed(r actor.Role, a Action) bool {
	needed, known := least(a)
	return known && rank(r) >= rank(needed)
}

// Known reports whether the table has a row for the action.
func Known(a Action) bool {
	_, inTeam := least(a)
	return inTeam || own(a)
}

// Require returns the team of the request when its actor may take the action
// there. Errors: Unauthenticated without an actor, NotFound without a team,
// Forbidden without the right.
func Require(ctx context.Context, a Action) (actor.Team, actor.Actor, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return actor.Team{}, actor.Actor{}, err
	}
	team, err := actor.TeamFrom(ctx)
	if err != nil {
		return actor.Team{}, actor.Actor{}, err
	}
	if who.Kind == actor.DeployToken {
		return actor.Team{}, actor.Actor{}, boundElsewhere()
	}
	if !Allowed(team.Role, a) {
		needed, _ := least(a)
		return actor.Team{}, actor.Actor{}, apperr.New(apperr.Forbidden,
			"%s needs the role %q in this team; yours is %q", a, needed, team.Role)
	}
	return team, who, nil
}

// RequireOn is Require for an act on one row. It also lets in who is bound to
// that row: a deploy token may start its deployment and read how that went.
func RequireOn(ctx context.Context, a Action, id uuid.UUID) (actor.Team, actor.Actor, error) {
	who, err := actor.From(ctx)
	if err != nil || who.Kind != actor.DeployToken || who.DeploymentID != id || !ForDeployToken(a) {
		return Require(ctx, a)
	}
	team, err := actor.TeamFrom(ctx)
	return team, who, err
}

// ForDeployToken reports whether a deploy token may take the action on its own
// deployment.
func ForDeployToken(a Action) bool {
	return a == DeploymentStart || a == DeploymentRead || a == DeploymentPlan
}

func boundElsewhere() error {
	return apperr.New(apperr.Forbidden, "a deploy token may only start its own deployment and read how that went")
}

// RequireSelf returns the actor when the action is one for itself.
func RequireSelf(ctx context.Context, a Action) (actor.Actor, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return actor.Actor{}, err
	}
	if who.Kind == actor.DeployToken {
		return actor.Actor{}, boundElsewhere()
	}
	if !own(a) {
		return actor.Actor{}, apperr.New(apperr.Forbidden, "%s is not permitted", a)
	}
	return who, nil
}
