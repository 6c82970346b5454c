package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/team"
)

// MemberOutput is a person in a team, or invited into one.
type MemberOutput struct {
	Role      actor.Role  `json:"role" enum:"owner,admin,user"`
	Status    team.Status `json:"status" enum:"pending,verified,expired,declined"`
	Email     string      `json:"email"`
	LastLogin *time.Time  `json:"lastLogin" nullable:"true"`
	ID        uuid.UUID   `json:"id"`
	Name      string      `json:"name"`
	Mail      *mailOutput `json:"mail" doc:"What became of the last e-mail to somebody invited; null when none was sent"`
}

type mailOutput struct {
	Status team.MailStatus `json:"status" enum:"waiting,sent,failed" doc:"failed: it was given up; reinvite sends another"`
	Error  string          `json:"error" doc:"Of the last attempt; empty when it was good"`
	At     time.Time       `json:"at" doc:"When it ended; when it was written while it waits"`
}

type inviteeOutput struct {
	MemberOutput
	InvitationLink *string `json:"invitationLink" nullable:"true" doc:"What an address without an account registers with: hand it to the invited person. Shown this once; null when it is sent by e-mail, and for an address that has an account, which finds the invitation there"`
	Mailed         bool    `json:"mailed" doc:"The address is sent an e-mail with a link"`
}

type inviteInput struct {
	TeamIDPath
	Body struct {
		Email     string `json:"email" format:"email" maxLength:"254"`
		FirstName string `json:"firstName" minLength:"1" maxLength:"70"`
		LastName  string `json:"lastName,omitempty" maxLength:"70"`
		Captcha   string `json:"captcha,omitempty" maxLength:"8192" doc:"Ignored"`
	}
}

// MemberPath names a person in a team.
type MemberPath struct {
	TeamIDPath
	UserID uuid.UUID `path:"userId" format:"uuid"`
}

type roleInput struct {
	MemberPath
	Body struct {
		Role actor.Role `json:"role" enum:"owner,admin,user"`
	}
}

type acceptInput struct {
	TeamIDPath
	Body *struct {
		Token string `json:"token,omitempty" maxLength:"256" doc:"From the invitation's link; for who registered without it"`
	}
}

func (a *api) peopleRoutes() {
	const tag = "Teams"
	const users = "/api/teams/{teamId}/users"
	add(a, route{method: http.MethodPost, path: users, summary: "Invite a user", tag: tag,
		action: authz.MemberInvite, status: http.StatusCreated, errors: []int{409, 429}, repeats: never}, a.inviteUser)
	add(a, route{method: http.MethodPut, path: users + "/{userId}/role", summary: "Change a user's role", tag: tag,
		action: authz.MemberUpdate, status: http.StatusNoContent, errors: []int{412}}, a.setRole)
	add(a, route{method: http.MethodDelete, path: users + "/leave", summary: "Leave a team", tag: tag,
		action: authz.TeamLeave, status: http.StatusNoContent, errors: []int{412}}, a.leaveTeam)
	add(a, route{method: http.MethodDelete, path: users + "/{userId}", summary: "Remove a user", tag: tag,
		action: authz.MemberRemove, status: http.StatusNoContent, errors: []int{412}}, a.removeUser)
	add(a, route{method: http.MethodPost, path: users + "/{userId}/reinvite", summary: "Invite a user again", tag: tag,
		action: authz.MemberInvite, status: http.StatusNoContent, errors: []int{412, 429}}, a.reinviteUser)

	const mine = "/api/users/me/invitations/{teamId}"
	add(a, route{method: http.MethodPost, path: mine, summary: "Accept an invitation", tag: "Accounts",
		action: authz.InvitationAccept, status: http.StatusNoContent, errors: []int{412}}, a.acceptInvitation)
	add(a, route{method: http.MethodDelete, path: mine, summary: "Decline an invitation", tag: "Accounts",
		action: authz.InvitationDecline, status: http.StatusNoContent}, a.declineInvitation)
}

func (a *api) inviteUser(ctx context.Context, in *inviteInput) (*created[inviteeOutput], error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	invited, err := a.deps.Teams.Invite(ctx, team.Invitee{
		Email: in.Body.Email, FirstName: in.Body.FirstName, LastName: in.Body.LastName,
	})
	if err != nil {
		return nil, err
	}
	out := inviteeOutput{MemberOutput: toMemberOutput(invited.Member), Mailed: invited.Mailed}
	if invited.Token != "" {
		link := a.deps.Teams.Link(in.TeamID, invited.Token)
		out.InvitationLink = &link
	}
	return &created[inviteeOutput]{Location: "/api/teams/" + in.TeamID.String(), Body: out}, nil
}

func (a *api) setRole(ctx context.Context, in *roleInput) (*empty, error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	return nil, a.deps.Teams.SetRole(ctx, in.UserID, in.Body.Role)
}

func (a *api) leaveTeam(ctx context.Context, in *TeamIDPath) (*empty, error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	return nil, a.deps.Teams.Leave(ctx)
}

func (a *api) removeUser(ctx context.Context, in *MemberPath) (*empty, error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	return nil, a.deps.Teams.Remove(ctx, in.UserID)
}

func (a *api) reinviteUser(ctx context.Context, in *MemberPath) (*empty, error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	return nil, a.deps.Teams.Reinvite(ctx, in.UserID)
}

func (a *api) acceptInvitation(ctx context.Context, in *acceptInput) (*empty, error) {
	token := ""
	if in.Body != nil {
		token = in.Body.Token
	}
	return nil, a.deps.Teams.Accept(ctx, in.TeamID, token)
}

func (a *api) declineInvitation(ctx context.Context, in *TeamIDPath) (*empty, error) {
	return nil, a.deps.Teams.Decline(ctx, in.TeamID)
}

func toMemberOutput(m team.Member) MemberOutput {
	var mail *mailOutput
	if m.Mail.Status != "" {
		mail = &mailOutput{Status: m.Mail.Status, Error: m.Mail.Error, At: m.Mail.At.UTC()}
	}
	return MemberOutput{
		Mail: mail, Role: m.Role, Status: m.Status, Email: m.Email, LastLogin: timeOrNil(m.LastLogin), ID: m.UserID, Name: m.Name,
	}
}
