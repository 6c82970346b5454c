package teamapi_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/oidc/oidctest"
	"fairlead.dev/shared/workload/workloadtest"
)

// trusting is a pipeline whose deployment trusts an issuer.
type trusting struct {
	pipeline
	issuer *oidctest.Issuer
	trust  string
}

func newTrusting(t *testing.T) trusting {
	t.Helper()
	x := trusting{pipeline: newPipeline(t), issuer: oidctest.Start(t)}
	x.trust = x.owner.Post("/api/acme/oidc-trusts", x.rule("main of acme/shop", map[string]any{
		"repository_id": []string{"42"}, "ref": []string{"refs/heads/main", "refs/heads/release"},
	})).Expect(t, http.StatusCreated).String(t, "id")
	return x
}

func (x trusting) rule(name string, conditions map[string]any) map[string]any {
	return map[string]any{
		"name": name, "provider": "github", "issuer": x.issuer.URL, "audience": "fairlead",
		"deploymentId": x.rows["{deploymentId}"], "conditions": conditions,
	}
}

// token is one that the trust accepts, with other claims where given.
func (x trusting) token(t *testing.T, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"repository_id": "42", "ref": "refs/heads/main"}
	for k, v := range more {
		claims[k] = v
	}
	return x.issuer.Token(t, "fairlead", claims)
}

func (x trusting) exchange(t *testing.T, token string) controllertest.Reply {
	t.Helper()
	return x.Anonymous(t).Post(x.path+"/token/exchange", map[string]any{"token": token})
}

func TestAPipelineStartsByItsIdentityAlone(t *testing.T) {
	x := newTrusting(t)
	x.agent(t, workloadtest.FakeOptions{})
	answer := x.exchange(t, x.token(t, nil)).Expect(t, http.StatusOK)
	if answer.String(t, "trust") != "main of acme/shop" {
		t.Errorf("answer %s", answer.Body)
	}
	ci := x.Anonymous(t).WithToken(answer.String(t, "token"))
	var got outcome
	ci.Post(x.path+"/start?wait=5m", nil).Expect(t, http.StatusOK).Into(t, &got)
	if got.Status != "successful" {
		t.Errorf("the start ended with %+v", got)
	}
	// It is a deploy token like the other: for one deployment, and no more.
	problem(t, ci.Get("/api/acme/projects"), http.StatusForbidden)
	problem(t, ci.Delete(x.path), http.StatusForbidden)
	// The token that a person made is still there beside it.
	x.client.Get(x.path).Expect(t, http.StatusOK)

	log := x.owner.Get("/api/acme/audit-log?skip=0&take=100&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").Expect(t, http.StatusOK)
	if !strings.Contains(string(log.Body), "oidc-trust.exchange") || !strings.Contains(string(log.Body), "repo:acme/shop:ref:refs/heads/main") {
		t.Errorf("the audit log has no word of the exchange: %s", log.Body)
	}

	// Whoever takes the trust away takes away what it gave.
	x.owner.Delete("/api/acme/oidc-trusts/"+x.trust).Expect(t, http.StatusNoContent)
	problem(t, ci.Get(x.path), http.StatusUnauthorized)
	problem(t, x.exchange(t, x.token(t, nil)), http.StatusUnauthorized)
}

func TestIdentitiesThatAreNotAccepted(t *testing.T) {
	x := newTrusting(t)
	stranger := oidctest.Start(t)
	for what, c := range map[string]struct{ token, says string }{
		"another repository":             {x.token(t, map[string]any{"repository_id": "43"}), "repository_id"},
		"another branch":                 {x.token(t, map[string]any{"ref": "refs/heads/feature"}), "ref"},
		"a branch that only begins so":   {x.token(t, map[string]any{"ref": "refs/heads/main2"}), "ref"},
		"no such claim":                  {x.issuer.Token(t, "fairlead", map[string]any{"ref": "refs/heads/main"}), "repository_id"},
		"another audience":               {x.issuer.Token(t, "others", map[string]any{"repository_id": "42", "ref": "refs/heads/main"}), "audience"},
		"an issuer that nobody trusts":   {stranger.Token(t, "fairlead", map[string]any{"repository_id": "42", "ref": "refs/heads/main"}), "issuer"},
		"another's signature":            {stranger.Token(t, "fairlead", map[string]any{"iss": x.issuer.URL, "repository_id": "42", "ref": "refs/heads/main"}), "signature"},
		"an identity that has ended":     {x.token(t, map[string]any{"exp": 1}), "expired"},
		"nothing":                        {"", "missing"},
		"what is no token":               {"garbage", "no JSON web token"},
		"more than any token":            {strings.Repeat("x", 20<<10), "longer"},
		"a deploy token in its place":    {strings.TrimPrefix(x.curl[strings.Index(x.curl, "Bearer ")+7:], "Bearer ")[:40], "token"},
		"a claim that is a list of them": {x.token(t, map[string]any{"repository_id": []string{"42"}}), "repository_id"},
	} {
		t.Run(what, func(t *testing.T) {
			got := x.exchange(t, c.token)
			problem(t, got, http.StatusUnauthorized)
			if !strings.Contains(string(got.Body), c.says) {
				t.Errorf("%s does not say %q", got.Body, c.says)
			}
		})
	}
	if n := stranger.KeysAsked(); n != 0 {
		t.Errorf("an issuer that nobody trusts was asked %d times", n)
	}
	good := map[string]any{"token": x.token(t, nil)}
	none := x.Anonymous(t).Post("/api/acme/deployments/"+uuid.NewString()+"/token/exchange", good)
	theirs := x.Anonymous(t).Post("/api/others/deployments/"+x.rows["{deploymentId}"]+"/token/exchange", good)
	problem(t, none, http.StatusUnauthorized)
	problem(t, theirs, http.StatusUnauthorized)
	if none.Object(t)["message"] != theirs.Object(t)["message"] {
		t.Errorf("a deployment that is nowhere: %s; one in another team: %s", none.Body, theirs.Body)
	}
}

func TestAnIdentityIsExchangedOnce(t *testing.T) {
	x := newTrusting(t)
	token := x.token(t, nil)
	statuses := make([]int, 8)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() { statuses[i] = x.exchange(t, token).Status })
	}
	wg.Wait()
	won := 0
	for _, s := range statuses {
		switch s {
		case http.StatusOK:
			won++
		case http.StatusUnauthorized:
		default:
			t.Errorf("status %d", s)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d exchanges of one token won, want 1", won, len(statuses))
	}
}

func TestTrustsThatCannotBeMade(t *testing.T) {
	x := newTrusting(t)
	fine := map[string]any{"repository_id": []string{"1"}}
	with := func(key string, value any) map[string]any {
		rule := x.rule("another rule", fine)
		rule[key] = value
		return rule
	}
	for what, c := range map[string]struct {
		rule   map[string]any
		status int
		field  string
	}{
		"no condition":              {with("conditions", map[string]any{}), 400, "conditions"},
		"names alone":               {with("conditions", map[string]any{"repository": []string{"acme/shop"}}), 400, "conditions"},
		"a condition without value": {with("conditions", map[string]any{"repository_id": []string{}}), 400, "conditions.repository_id"},
		"an unknown provider":       {with("provider", "bitbucket"), 400, "provider"},
		"an issuer that is no URL":  {with("issuer", "ftp://x"), 400, "issuer"},
		"a short name":              {with("name", "ab"), 400, "name"},
		"a name that is taken":      {with("name", "main of acme/shop"), 409, "name"},
		"no such deployment":        {with("deploymentId", uuid.NewString()), 404, "deploymentId"},
	} {
		t.Run(what, func(t *testing.T) {
			got := x.owner.Post("/api/acme/oidc-trusts", c.rule)
			problem(t, got, c.status)
			if property, _ := got.Object(t)["property"].(string); !strings.HasSuffix(property, c.field) {
				t.Errorf("%s names %q, want %q", got.Body, property, c.field)
			}
		})
	}
	problem(t, x.people[actor.Member].Post("/api/acme/oidc-trusts", x.rule("a member's", fine)), http.StatusForbidden)
	// The public services' issuers need not be written down.
	for provider, claim := range map[string]string{"github": "repository_owner_id", "gitlab": "project_id"} {
		made := x.owner.Post("/api/acme/oidc-trusts", map[string]any{
			"name": provider, "provider": provider, "deploymentId": x.rows["{deploymentId}"], "conditions": map[string]any{claim: []string{"7"}},
		}).Expect(t, http.StatusCreated)
		if issuer := made.String(t, "issuer"); !strings.HasPrefix(issuer, "https://") || made.String(t, "audience") == "" {
			t.Errorf("%s: %s", provider, made.Body)
		}
	}
	var list []struct{ Name string }
	x.people[actor.Member].Get("/api/acme/oidc-trusts").Expect(t, http.StatusOK).Into(t, &list)
	if len(list) != 3 {
		t.Errorf("trusts %+v", list)
	}
}
