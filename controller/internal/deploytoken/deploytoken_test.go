package deploytoken_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
)

func TestATokenHoldsUntilItExpires(t *testing.T) {
	clock := time.Now().UTC().Truncate(time.Microsecond)
	now := func() time.Time { return clock }
	db := pgtest.New(t)
	ctx := teamtest.New(t, db)
	log := audit.New(db, now)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	issuer := token.NewIssuer(db, key, "http://localhost", now)
	s := deploytoken.New(db, issuer, log, now)

	p, err := project.New(db, log, now).Create(ctx, project.Versioned, project.Draft{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := version.New(db, log, nil, now).Create(ctx, p.ID, version.Rolling, version.Draft{Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	d := teamtest.Deploy(ctx, t, db, v.ID, teamtest.Node(ctx, t, db), deployment.Preparing)
	days := 2
	made, secret, err := s.Create(ctx, d.ID, "main branch", &days)
	if err != nil {
		t.Fatal(err)
	}

	who, team, err := s.Authenticate(t.Context(), secret)
	if err != nil || who.Kind != actor.DeployToken || who.ID != made.ID || who.DeploymentID != d.ID || team.ID != d.TeamID || team.Role != "" {
		t.Fatalf("it stands for %+v in %+v, %v", who, team, err)
	}
	if _, err := issuer.Verify(t.Context(), secret); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("as a person's token it is %v", err)
	}
	clock = clock.Add(48*time.Hour - time.Second)
	if _, _, err := s.Authenticate(t.Context(), secret); err != nil {
		t.Errorf("a second before it expires: %v", err)
	}
	clock = clock.Add(2 * time.Second)
	if _, _, err := s.Authenticate(t.Context(), secret); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("a second after it expired: %v", err)
	}
}

func TestNothingElsePassesForADeployToken(t *testing.T) {
	now := func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	db := pgtest.New(t)
	ctx := teamtest.New(t, db)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	issuer := token.NewIssuer(db, key, "http://localhost", now)
	s := deploytoken.New(db, issuer, audit.New(db, now), now)
	owner, err := actor.From(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, personal, err := issuer.Issue(ctx, owner.ID, token.Personal, "own", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	unknown, _, err := issuer.Sign(token.Claims{ID: owner.ID, Subject: owner.ID, Kind: token.Deployment, IssuedAt: now(), ExpiresAt: now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for what, presented := range map[string]string{"nothing": "", "garbage": "a.b.c", "a personal token": personal, "a token that was never kept": unknown} {
		if who, _, err := s.Authenticate(t.Context(), presented); !apperr.Is(err, apperr.Unauthenticated) {
			t.Errorf("%s passes for %+v, %v", what, who, err)
		}
	}
}
