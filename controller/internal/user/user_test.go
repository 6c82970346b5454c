package user_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/shared/apperr"
)

const password = "correct horse battery"

// watchedHasher remembers what each check answered, and calls hashing while it
// makes a hash.
type watchedHasher struct {
	*user.Argon2
	hashing func()
	mu      sync.Mutex
	checks  []error
}

func (h *watchedHasher) Hash(password string) (string, error) {
	h.hashing()
	return h.Argon2.Hash(password)
}

func (h *watchedHasher) Matches(password, hash string) (bool, error) {
	matches, err := h.Argon2.Matches(password, hash)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, err)
	return matches, err
}

type world struct {
	*user.Service
	db     *postgres.DB
	hasher *watchedHasher
	issuer *token.Issuer
}

func setUp(t *testing.T, open bool) world {
	t.Helper()
	db := pgtest.New(t)
	k, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issuer := token.NewIssuer(db, k.Token, "https://fairlead.example", time.Now)
	hasher := &watchedHasher{Argon2: user.NewArgon2(2), hashing: func() {}}
	return world{
		Service: user.New(user.Config{
			Store: db, Tokens: db, Issuer: issuer, Hasher: hasher, Audit: audit.New(db, time.Now), Now: time.Now,
			SetupToken: "setup", OpenRegistration: open,
		}),
		db: db, hasher: hasher, issuer: issuer,
	}
}

func (w world) register(t *testing.T, email string) user.User {
	t.Helper()
	u, err := w.Register(t.Context(), user.RegisterCommand{Email: email, Password: password, SetupToken: "setup"})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestFirstAccountNeedsTheSetupTokenAndIsAdministrator(t *testing.T) {
	w := setUp(t, true)
	for _, wrong := range []string{"", "other"} {
		_, err := w.Register(t.Context(), user.RegisterCommand{Email: "a@b.co", Password: password, SetupToken: wrong})
		if !apperr.Is(err, apperr.Forbidden) {
			t.Errorf("set-up token %q: %v, want forbidden", wrong, err)
		}
	}
	if first := w.register(t, "Ann@Example.com"); !first.Admin || first.Email != "ann@example.com" || first.Name != "ann" {
		t.Errorf("first user is %+v", first)
	}
	second, err := w.Register(t.Context(), user.RegisterCommand{Email: "bob@example.com", Password: password})
	if err != nil || second.Admin {
		t.Errorf("second user is %+v, %v; want no administrator, no token asked", second, err)
	}
}

func TestOnlyOneOfManyFirstRegistrationsWins(t *testing.T) {
	w := setUp(t, false)
	const n = 6
	made := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, made[i] = w.Register(t.Context(), user.RegisterCommand{
				Email: fmt.Sprintf("u%d@example.com", i), Password: password, SetupToken: "setup",
			})
		})
	}
	wg.Wait()
	winners := 0
	for _, err := range made {
		if err == nil {
			winners++
		} else if !apperr.Is(err, apperr.Forbidden) {
			t.Errorf("a loser got %v, want forbidden", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d first users, want 1", winners)
	}
}

func TestRegisterRefuses(t *testing.T) {
	w := setUp(t, true)
	w.register(t, "taken@example.com")
	cases := map[string]struct {
		cmd  user.RegisterCommand
		kind apperr.Kind
	}{
		"no address":        {user.RegisterCommand{Email: "nobody", Password: password}, apperr.Invalid},
		"address with name": {user.RegisterCommand{Email: "Ann <a@b.co>", Password: password}, apperr.Invalid},
		"short password":    {user.RegisterCommand{Email: "a@b.co", Password: "short"}, apperr.Invalid},
		"name of two lines": {user.RegisterCommand{Email: "a@b.co", Password: password, Name: "Ann\nAdmin"}, apperr.Invalid},
		"name too long":     {user.RegisterCommand{Email: "a@b.co", Password: password, Name: strings.Repeat("ü", 71)}, apperr.Invalid},
		"taken, other case": {user.RegisterCommand{Email: "TAKEN@example.com", Password: password}, apperr.Conflict},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := w.Register(t.Context(), c.cmd); !apperr.Is(err, c.kind) {
				t.Errorf("got %v, want %v", err, c.kind)
			}
		})
	}
}

func TestSessionFromLoginToLogout(t *testing.T) {
	w := setUp(t, true)
	u := w.register(t, "ann@example.com")
	secret, expiresAt, err := w.Login(t.Context(), "Ann@Example.com", password)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Until(expiresAt); d <= 0 || d > token.SessionLifetime {
		t.Errorf("session lasts %v", d)
	}
	who, err := w.Authenticate(t.Context(), secret)
	if err != nil || who.ID != u.ID || who.Kind != actor.User {
		t.Fatalf("Authenticate = %+v, %v", who, err)
	}
	if err := w.Logout(actor.With(t.Context(), who)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(t.Context(), secret); !apperr.Is(err, apperr.Unauthenticated) {
		t.Errorf("after log-out: %v, want unauthenticated", err)
	}
}

func TestLoginRefusesAllAlike(t *testing.T) {
	w := setUp(t, true)
	w.register(t, "ann@example.com")
	var texts []string
	for _, attempt := range [][2]string{{"ann@example.com", "wrong password"}, {"nobody@example.com", password}, {"no address", password}} {
		_, _, err := w.Login(t.Context(), attempt[0], attempt[1])
		if !apperr.Is(err, apperr.Unauthenticated) {
			t.Fatalf("%v: %v, want unauthenticated", attempt, err)
		}
		texts = append(texts, err.Error())
	}
	if texts[0] != texts[1] || texts[1] != texts[2] {
		t.Errorf("answers differ, and so tell who has an account: %q", texts)
	}
	// A password was checked for the unknown address too, and against a real hash.
	if len(w.hasher.checks) != 2 {
		t.Errorf("%d passwords were checked, want 2", len(w.hasher.checks))
	}
	for _, err := range w.hasher.checks {
		if err != nil {
			t.Errorf("a check ended early: %v", err)
		}
	}
}

func TestTamperedAndForeignTokensAreRefused(t *testing.T) {
	w, other := setUp(t, true), setUp(t, true)
	w.register(t, "ann@example.com")
	other.register(t, "ann@example.com")
	secret, _, err := w.Login(t.Context(), "ann@example.com", password)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := other.Login(t.Context(), "ann@example.com", password)
	if err != nil {
		t.Fatal(err)
	}
	for name, presented := range map[string]string{
		"empty": "", "garbage": "x.y.z", "cut": secret[:len(secret)-4], "of another controller": foreign,
		"unsigned": "eyJhbGciOiJub25lIn0." + secret[37:], "huge": string(make([]byte, 1<<20)),
	} {
		if _, err := w.Authenticate(context.Background(), presented); !apperr.Is(err, apperr.Unauthenticated) {
			t.Errorf("%s token: %v, want unauthenticated", name, err)
		}
	}
}

// TestNoLockIsHeldWhileAPasswordIsHashed: that takes long on a busy machine, and
// the database ends a transaction that is idle.
func TestNoLockIsHeldWhileAPasswordIsHashed(t *testing.T) {
	w := setUp(t, true)
	hashed := 0
	w.hasher.hashing = func() {
		hashed++
		if _, err := w.NeedsSetup(t.Context()); err != nil { // takes the lock of registrations
			t.Errorf("somebody else waits for the hash: %v", err)
		}
	}
	if made, err := w.EnsureAdministrator(t.Context(), "root@example.com", password); err != nil || !made {
		t.Errorf("the administrator: %v, %v", made, err)
	}
	w.register(t, "ann@example.com")
	if hashed != 2 {
		t.Errorf("%d passwords were hashed", hashed)
	}
}

func TestEnsureAdministratorActsOnce(t *testing.T) {
	w := setUp(t, false)
	if needed, err := w.NeedsSetup(t.Context()); err != nil || !needed {
		t.Fatalf("NeedsSetup = %v, %v", needed, err)
	}
	for i, want := range []bool{true, false} {
		made, err := w.EnsureAdministrator(t.Context(), "root@example.com", password)
		if err != nil || made != want {
			t.Errorf("call %d: %v, %v; want %v", i, made, err, want)
		}
	}
	if _, _, err := w.Login(t.Context(), "root@example.com", password); err != nil {
		t.Errorf("the administrator can't log in: %v", err)
	}
}
