package team_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
)

// world is a team with an owner, and a clock.
type world struct {
	*team.Service
	db    *postgres.DB
	owner context.Context
	scope actor.Team
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{db: pgtest.New(t), now: now()}
	w.owner = teamtest.New(t, w.db)
	w.Service = team.New(team.Config{Store: w.db, Audit: audit.New(w.db, now), Now: func() time.Time { return w.now }})
	scope, err := actor.TeamFrom(w.owner)
	if err != nil {
		t.Fatal(err)
	}
	w.scope = scope
	return w
}

// account makes an account and returns the context of its requests.
func (w *world) account(t *testing.T, email string) (context.Context, uuid.UUID) {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.InsertUser(t.Context(), user.User{ID: id, Email: email, Name: "Some Body", CreatedAt: w.now}); err != nil {
		t.Fatal(err)
	}
	return actor.With(t.Context(), actor.Actor{Kind: actor.User, ID: id, Name: "Some Body", Email: email, Method: "post"}), id
}

// member makes an account and takes it into the team.
func (w *world) member(t *testing.T, email string, role actor.Role) (context.Context, uuid.UUID) {
	t.Helper()
	ctx, id := w.account(t, email)
	if err := w.db.InsertMember(ctx, w.scope.ID, id, role, w.now); err != nil {
		t.Fatal(err)
	}
	return w.enter(ctx, t), id
}

func (w *world) enter(ctx context.Context, t *testing.T) context.Context {
	t.Helper()
	inside, err := w.EnterByID(ctx, w.scope.ID)
	if err != nil {
		t.Fatal(err)
	}
	return inside
}

func (w *world) status(t *testing.T, email string) team.Status {
	t.Helper()
	_, people, err := w.Get(w.owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range people {
		if m.Email == email {
			return m.Status
		}
	}
	return ""
}

func is(t *testing.T, err error, kind apperr.Kind) {
	t.Helper()
	if !apperr.Is(err, kind) {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnAccountIsInvitedAndAnswers(t *testing.T) {
	w := newWorld(t)
	mary, id := w.account(t, "mary@example.com")
	invited, err := w.Invite(w.owner, team.Invitee{Email: "Mary@Example.com", FirstName: "M"})
	must(t, err)
	if invited.UserID != id || invited.Status != team.Pending || invited.Role != actor.Member || invited.Token != "" || invited.Mailed {
		t.Fatalf("invited %+v", invited)
	}
	_, err = w.Invite(w.owner, team.Invitee{Email: "mary@example.com", FirstName: "M"})
	is(t, err, apperr.Conflict)

	must(t, w.Decline(mary, w.scope.ID))
	if got := w.status(t, "mary@example.com"); got != team.Declined {
		t.Errorf("status %q", got)
	}
	if list, err := w.Invitations(mary); err != nil || len(list) != 0 {
		t.Errorf("invitations %v, %v after declining", list, err)
	}
	is(t, w.Reinvite(w.owner, id), apperr.Precondition)
	must(t, w.Accept(mary, w.scope.ID, "")) // a change of mind
	if got := w.status(t, "mary@example.com"); got != team.Verified {
		t.Errorf("status %q", got)
	}
	is(t, w.Accept(mary, w.scope.ID, ""), apperr.NotFound)
	is(t, w.Reinvite(w.owner, id), apperr.Precondition)
	_, err = w.Invite(w.owner, team.Invitee{Email: "mary@example.com", FirstName: "M"})
	is(t, err, apperr.Conflict)
}

func TestNamesOfTeamsAndPeopleAreOneLine(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"two\nlines", "es\x1bcape", "nul\x00"} {
		_, err := w.Create(w.owner, bad, "lines")
		is(t, err, apperr.Invalid)
		is(t, w.Update(w.owner, bad, "lines"), apperr.Invalid)
		_, err = w.Invite(w.owner, team.Invitee{Email: "mary@example.com", FirstName: bad})
		is(t, err, apperr.Invalid)
		_, err = w.Invite(w.owner, team.Invitee{Email: "mary@example.com", FirstName: "Mary", LastName: bad})
		is(t, err, apperr.Invalid)
	}
}

func TestAnInvitationExpiresAndIsRenewed(t *testing.T) {
	w := newWorld(t)
	mary, id := w.account(t, "mary@example.com")
	_, err := w.Invite(w.owner, team.Invitee{Email: "mary@example.com", FirstName: "Mary"})
	must(t, err)
	w.now = w.now.Add(team.InvitationLifetime)
	if got := w.status(t, "mary@example.com"); got != team.Expired {
		t.Errorf("status %q", got)
	}
	is(t, w.Accept(mary, w.scope.ID, ""), apperr.Precondition)
	must(t, w.Reinvite(w.owner, id))
	if list, err := w.Invitations(mary); err != nil || len(list) != 1 || list[0].ID != w.scope.ID {
		t.Errorf("invitations %v, %v after a renewal", list, err)
	}
	must(t, w.Accept(mary, w.scope.ID, ""))
}

func TestATokenAnswersOnlyForItsAddress(t *testing.T) {
	w := newWorld(t)
	invited, err := w.Invite(w.owner, team.Invitee{Email: "new@example.com", FirstName: "Nell", LastName: "New"})
	must(t, err)
	if invited.Token == "" || invited.Name != "Nell New" {
		t.Fatalf("invited %+v", invited)
	}
	other, _ := w.account(t, "other@example.com")
	is(t, w.Accept(other, w.scope.ID, invited.Token), apperr.NotFound)
	// Who registered the address without the token must prove it now.
	nell, _ := w.account(t, "new@example.com")
	is(t, w.Accept(nell, w.scope.ID, ""), apperr.NotFound)
	is(t, w.Accept(nell, w.scope.ID, "guessed"), apperr.NotFound)
	must(t, w.Accept(nell, w.scope.ID, invited.Token))
	if got := w.status(t, "new@example.com"); got != team.Verified {
		t.Errorf("status %q", got)
	}
}

func TestAnInvitationIsTakenBack(t *testing.T) {
	w := newWorld(t)
	invited, err := w.Invite(w.owner, team.Invitee{Email: "new@example.com", FirstName: "Nell"})
	must(t, err)
	is(t, w.SetRole(w.owner, invited.UserID, actor.Admin), apperr.Precondition)
	must(t, w.Remove(w.owner, invited.UserID))
	nell, _ := w.account(t, "new@example.com")
	is(t, w.Accept(nell, w.scope.ID, invited.Token), apperr.NotFound)
	is(t, w.Remove(w.owner, invited.UserID), apperr.NotFound)
}

func TestRolesAndTheLastOwner(t *testing.T) {
	w := newWorld(t)
	who, err := actor.From(w.owner)
	must(t, err)
	admin, adminID := w.member(t, "admin@example.com", actor.Admin)
	_, memberID := w.member(t, "member@example.com", actor.Member)

	is(t, w.SetRole(admin, adminID, actor.Owner), apperr.Forbidden)
	is(t, w.SetRole(admin, memberID, actor.Owner), apperr.Forbidden)
	is(t, w.SetRole(admin, who.ID, actor.Member), apperr.Forbidden)
	is(t, w.Remove(admin, who.ID), apperr.Forbidden)
	is(t, w.SetRole(w.owner, memberID, "king"), apperr.Invalid)
	is(t, w.SetRole(w.owner, uuid.New(), actor.Admin), apperr.NotFound)
	must(t, w.SetRole(admin, memberID, actor.Admin))

	is(t, w.SetRole(w.owner, who.ID, actor.Admin), apperr.Precondition)
	is(t, w.Remove(w.owner, who.ID), apperr.Precondition)
	is(t, w.Leave(w.owner), apperr.Precondition)
	must(t, w.SetRole(w.owner, adminID, actor.Owner))
	must(t, w.Leave(w.owner))
	is(t, w.Leave(w.enter(admin, t)), apperr.Precondition)
	// A context from before the change has no more rights than there are now.
	is(t, w.Leave(w.owner), apperr.NotFound)
}

func TestOwnersWhoDemoteEachOtherAtOnceLeaveOne(t *testing.T) {
	w := newWorld(t)
	who, err := actor.From(w.owner)
	must(t, err)
	for range 10 {
		other, otherID := w.member(t, uuid.NewString()+"@example.com", actor.Owner)
		acts := []func() error{
			func() error { return w.SetRole(w.owner, otherID, actor.Member) },
			func() error { return w.SetRole(other, who.ID, actor.Member) },
			func() error { return w.Leave(other) },
		}
		var all sync.WaitGroup
		for _, act := range acts {
			all.Go(func() { _ = act() })
		}
		all.Wait()
		owners, err := w.db.CountOwners(t.Context(), w.scope.ID)
		must(t, err)
		if owners != 1 {
			t.Fatalf("the team has %d owners", owners)
		}
		// The next round begins with this owner alone.
		must(t, w.db.SetMemberRole(t.Context(), w.scope.ID, who.ID, actor.Owner))
		if _, err := w.db.FindMember(t.Context(), w.scope.ID, otherID); err == nil {
			must(t, w.db.DeleteMember(t.Context(), w.scope.ID, otherID))
		}
	}
}

func TestInvitingTheSameAddressAtOnceInvitesOnce(t *testing.T) {
	w := newWorld(t)
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			_, err := w.Invite(w.owner, team.Invitee{Email: "new@example.com", FirstName: "Nell"})
			errs <- err
		}()
	}
	invited := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			invited++
		} else if !apperr.Is(err, apperr.Conflict) {
			t.Error(err)
		}
	}
	if invited != 1 {
		t.Errorf("%d invitations", invited)
	}
}

func TestATeamWhoseNodesRunSomethingStays(t *testing.T) {
	w := newWorld(t)
	node := teamtest.Node(w.owner, t, w.db)
	p, err := project.New(w.db, audit.New(w.db, now), now).Create(w.owner, project.Versionless, project.Draft{Name: "shop"})
	must(t, err)
	version, err := w.db.FindDefaultVersion(w.owner, p.ID)
	must(t, err)
	d := teamtest.Deploy(w.owner, t, w.db, version.ID, node, "successful")
	teamtest.Assign(w.owner, t, w.db, d)
	is(t, w.Delete(w.owner), apperr.Precondition)
	teamtest.Unassign(w.owner, t, w.db, d)
	is(t, w.Delete(w.owner), apperr.Precondition) // the node has not removed it yet
	must(t, w.db.ForgetAssignment(w.owner, node, d.Prefix, 3))
	must(t, w.Delete(w.owner))
	is(t, w.Delete(w.owner), apperr.NotFound)
}
