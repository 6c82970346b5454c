package team

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/mail"
)

// Link is where an invitation is answered. The token is that of an address
// without an account, and behind the '#', so that no server on the way sees it.
func (s *Service) Link(teamID uuid.UUID, token string) string {
	link := s.PublicURL + "/register?team=" + teamID.String()
	if token != "" {
		link += "#invitation=" + token
	}
	return link
}

// mail has the invited person told, where e-mails are sent.
func (s *Service) mail(ctx context.Context, i Invitation, secret string) error {
	if !s.Mails.Sends() {
		return nil
	}
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	m, err := s.Store.FindMembershipByID(ctx, who.ID, i.TeamID)
	if err != nil {
		return err
	}
	act, link := "To join, choose a password on this page:", s.Link(i.TeamID, secret)
	if i.UserID != uuid.Nil {
		act, link = "To join, log in with your account on this page:", s.Link(i.TeamID, "")
	}
	// Names are what somebody chose: they must not pass for text of ours.
	return s.Mails.Add(ctx, mail.Message{
		Sender: who.Ref(), InvitationID: i.ID, To: i.Email,
		Subject: fmt.Sprintf("%s invites you to the team %q", oneLine(who.Name), oneLine(m.Name)),
		Text: fmt.Sprintf("Hello,\n\n%q (%s) invites you to the team %q on %s.\n\n%s\n\n%s\n\n"+
			"The link is for you alone and good for %d days. If you did not expect this, ignore it: nothing happens.\n",
			oneLine(who.Name), who.Email, oneLine(m.Name), s.PublicURL, act, link, int(InvitationLifetime.Hours()/24)),
	})
}

// oneLine leaves out what would begin a line or a link of its own.
func oneLine(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, name)
	return strings.ReplaceAll(name, "://", " ")
}
