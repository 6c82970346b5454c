package authz_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// The table once more, by role: what a change of it must be meant to change.
func forEveryMember() []authz.Action {
	return []authz.Action{
		authz.TeamRead, authz.TeamLeave, authz.DashboardRead, authz.RegistryRead, authz.StorageRead,
		authz.ProjectRead, authz.ProjectCreate, authz.ProjectUpdate,
		authz.VersionRead, authz.VersionCreate, authz.VersionUpdate, authz.VersionDelete,
		authz.ImageRead, authz.ImageCreate, authz.ImageUpdate, authz.ImageDelete,
		authz.NodeRead, authz.ContainerRead, authz.ContainerAct,
		authz.DeploymentRead, authz.DeploymentCreate, authz.DeploymentUpdate, authz.DeploymentDelete, authz.DeploymentStart,
		authz.DeployTokenCreate, authz.DeployTokenDelete, authz.OIDCTrustRead,
	}
}

func forAdmins() []authz.Action {
	return []authz.Action{
		authz.TeamUpdate, authz.MemberInvite, authz.MemberUpdate, authz.MemberRemove, authz.AuditRead,
		authz.NotificationRead, authz.NotificationCreate, authz.NotificationUpdate, authz.NotificationDelete, authz.NotificationTest,
		authz.RegistryCreate, authz.RegistryUpdate, authz.RegistryDelete,
		authz.StorageCreate, authz.StorageUpdate, authz.StorageDelete,
		authz.ProjectDelete, authz.ContainerDelete, authz.ContainerExec, authz.OIDCTrustCreate, authz.OIDCTrustDelete,
		authz.NodeCreate, authz.NodeUpdate, authz.NodeDelete, authz.NodeInstall, authz.NodeRevoke, authz.NodeReadmit,
	}
}

func forOwners() []authz.Action { return []authz.Action{authz.TeamDelete} }

func TestRolesMayDoWhatTheTableSaysAndNoMore(t *testing.T) {
	for role, may := range map[actor.Role][]authz.Action{
		actor.Member: forEveryMember(),
		actor.Admin:  slices.Concat(forEveryMember(), forAdmins()),
		actor.Owner:  slices.Concat(forEveryMember(), forAdmins(), forOwners()),
		"":           nil,
		"root":       nil,
	} {
		for _, action := range slices.Concat(forEveryMember(), forAdmins(), forOwners(), []authz.Action{"", "node.explode", authz.TeamCreate}) {
			if got, want := authz.Allowed(role, action), slices.Contains(may, action); got != want {
				t.Errorf("%q may %s: %v, want %v", role, action, got, want)
			}
		}
	}
}

func TestRequireTellsWhatIsMissing(t *testing.T) {
	ctx := t.Context()
	if _, _, err := authz.Require(ctx, authz.NodeRead); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("nobody: %v, want unauthenticated", err)
	}
	ctx = actor.With(ctx, actor.Actor{Kind: actor.User, ID: uuid.New()})
	if _, _, err := authz.Require(ctx, authz.NodeRead); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("in no team: %v, want not found", err)
	}
	ctx = actor.WithTeam(ctx, actor.Team{ID: uuid.New(), Role: actor.Member})
	if _, _, err := authz.Require(ctx, authz.NodeDelete); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("without the right: %v, want forbidden", err)
	}
	if _, _, err := authz.Require(ctx, authz.NodeRead); err != nil {
		t.Errorf("with the right: %v", err)
	}
	if _, err := authz.RequireSelf(ctx, authz.NodeRead); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("a team's action as one's own: %v, want forbidden", err)
	}
}

func TestDeployTokensReachTheirOwnDeploymentOnly(t *testing.T) {
	own := uuid.New()
	ctx := actor.With(t.Context(), actor.Actor{Kind: actor.DeployToken, ID: uuid.New(), DeploymentID: own})
	ctx = actor.WithTeam(ctx, actor.Team{ID: uuid.New(), Role: actor.Owner}) // whatever the role
	for _, action := range slices.Concat(forEveryMember(), forAdmins(), forOwners()) {
		if _, _, err := authz.Require(ctx, action); !apperr.Is(err, apperr.Forbidden) {
			t.Errorf("%s anywhere: %v, want forbidden", action, err)
		}
		_, _, err := authz.RequireOn(ctx, action, own)
		if allowed := action == authz.DeploymentStart || action == authz.DeploymentRead; (err == nil) != allowed {
			t.Errorf("%s on its own: %v", action, err)
		}
		if _, _, err := authz.RequireOn(ctx, action, uuid.New()); !apperr.Is(err, apperr.Forbidden) {
			t.Errorf("%s on another: %v, want forbidden", action, err)
		}
	}
}
