package deployment_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/page"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// digest returns one that tells from others by a letter.
func digest(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }

// run starts a deployment and has its node succeed with it; each instance runs
// the digest.
func (w *world) run(d deployment.Deployment, digest string) int64 {
	w.t.Helper()
	number := w.start(d)
	w.succeed(d, digest)
	return number
}

// succeed has the node succeed with what is under way; "" tells no digest.
func (w *world) succeed(d deployment.Deployment, digest string) {
	w.t.Helper()
	a := w.assignment(d.Prefix)
	status := deployment.Status{DeploymentID: d.ID, Generation: a.Generation, Phase: workload.PhaseSuccessful, Digests: map[string]string{}}
	for _, one := range a.Deployment.Workloads {
		status.Digests[one.InstanceID] = digest
	}
	if err := w.RecordProgress(w.t.Context(), w.node, []deployment.Status{status}, nil); err != nil {
		w.t.Fatalf("record the success: %v", err)
	}
}

func (w *world) release(d deployment.Deployment, number int64) deployment.Release {
	w.t.Helper()
	r, err := w.GetRelease(w.ctx, d.ID, number)
	if err != nil {
		w.t.Fatalf("get release %d: %v", number, err)
	}
	return r
}

// shop is a deployment of one image.
func (w *world) shop(config spec.Container) (deployment.Deployment, uuid.UUID) {
	w.t.Helper()
	version := w.version(w.project("shop"), "rolling", nil)
	w.image(version, 1, "acme/web", config)
	return w.create(version, "shop"), version
}

func TestAReleaseTellsWhoMadeItAndWhatRan(t *testing.T) {
	w := newWorld(t)
	d, _ := w.shop(spec.Container{})
	as := func(kind actor.Kind, with actor.Credential) context.Context {
		who, err := actor.From(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		who.Kind, who.Credential, who.DeploymentID, who.Name = kind, with, d.ID, "some "+string(with)
		return actor.With(w.ctx, who)
	}
	tests := []struct {
		kind actor.Kind
		with actor.Credential
		want deployment.Trigger
	}{
		{actor.User, actor.Session, deployment.TriggerUser},
		{actor.User, actor.Personal, deployment.TriggerAPIToken},
		{actor.DeployToken, actor.Bound, deployment.TriggerDeployToken},
		{actor.DeployToken, actor.Federated, deployment.TriggerOIDC},
	}
	for _, test := range tests {
		number, err := w.Start(as(test.kind, test.with), d.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.report(d, workload.PhaseInProgress, nil)
		w.succeed(d, digest("a"))
		r := w.release(d, number)
		if r.Trigger != test.want || r.Actor != (deployment.Maker{Kind: test.kind, Name: "some " + string(test.with)}) {
			t.Errorf("with %s: trigger %s by %+v, want %s", test.with, r.Trigger, r.Actor, test.want)
		}
		instance := r.Spec.Workloads[0].InstanceID
		if r.Outcome != deployment.OutcomeSuccessful || len(r.Digests) != 1 || r.Digests[instance] != digest("a") || r.ConfigHash == "" {
			t.Errorf("with %s: got %+v", test.with, r)
		}
		if r.BeganAt.Before(r.CreatedAt) || r.FinishedAt.Before(r.BeganAt) {
			t.Errorf("made at %s, begun at %s, finished at %s", r.CreatedAt, r.BeganAt, r.FinishedAt)
		}
	}
	part, err := w.Releases(page.With(w.ctx, page.Page{Skip: 1, Take: 2}), d.ID)
	if err != nil || len(part) != 2 || part[0].Number != 3 || part[1].Number != 2 {
		t.Errorf("got %d releases, %v", len(part), err)
	}
	_, err = w.GetRelease(w.ctx, d.ID, 9)
	wantError(t, err, apperr.NotFound, "number")
}

func TestOnlyDigestsAreKeptAsDigests(t *testing.T) {
	w := newWorld(t)
	d, _ := w.shop(spec.Container{})
	number := w.start(d)
	a := w.assignment("shop")
	instance := a.Deployment.Workloads[0].InstanceID
	status := deployment.Status{DeploymentID: d.ID, Generation: a.Generation, Phase: workload.PhaseFailed,
		Failure: &workload.Failure{Step: workload.StepHealth, Err: errors.New("not healthy")},
		Digests: map[string]string{instance: digest("a"), "\x00": digest("b"), uuid.NewString(): "latest"},
	}
	if err := w.RecordProgress(t.Context(), w.node, []deployment.Status{status}, nil); err != nil {
		t.Fatal(err)
	}
	if got := w.release(d, number).Digests; len(got) != 1 || got[instance] != digest("a") {
		t.Errorf("got %v", got)
	}
}

// Not even a statement that somebody types rewrites the ledger.
func TestTheLedgerIsNeverRewritten(t *testing.T) {
	w := newWorld(t)
	d, _ := w.shop(spec.Container{})
	w.run(d, digest("a"))
	if _, err := w.HoldRelease(w.ctx, d.ID, 1, "it leaks"); err != nil {
		t.Fatal(err)
	}
	before := value[string](w, "select r::text from releases r where deployment_id = $1", d.ID)
	for _, set := range []string{
		"id = gen_random_uuid()", "number = 7", "spec = '{}'", "trigger = 'oidc'", "created_at = now()", "created_by = 'me'",
		"config_hash = null", "config_hash = 'x'", "actor_kind = 'system'", "actor_name = 'me'", "rollback_of = 1", "plan = '{}'", "plan_hash = 'x'",
		"outcome = 'failed'", "outcome = 'pending'", "finished_at = now()", "failure = '{}'", "digests = null", "digests = '{}'", "began_at = now()",
	} {
		_, err := w.rows.Exec(t.Context(), "update releases set "+set+" where deployment_id = $1", d.ID)
		if err == nil || !strings.Contains(err.Error(), "is history") {
			t.Errorf("%s: %v", set, err)
		}
	}
	_, err := w.rows.Exec(t.Context(), "delete from assignments where deployment_id = $1", d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.rows.Exec(t.Context(), "delete from releases where deployment_id = $1", d.ID); err == nil || !strings.Contains(err.Error(), "is history") {
		t.Errorf("delete: %v", err)
	}
	if after := value[string](w, "select r::text from releases r where deployment_id = $1", d.ID); after != before {
		t.Errorf("the release was %s and is %s", before, after)
	}
	if err := w.Delete(w.ctx, d.ID); err != nil { // takes its ledger along
		t.Fatal(err)
	}
	if n := value[int](w, "select count(*) from releases"); n != 0 {
		t.Errorf("%d releases are left", n)
	}
}

func TestRollbackRunsTheImagesOfThen(t *testing.T) {
	w := newWorld(t)
	d, version := w.shop(spec.Container{Environment: pairs("LEVEL", "one")})
	w.run(d, digest("a"))
	w.configure(version, "acme/web", spec.Container{Environment: pairs("LEVEL", "two")})
	w.run(d, digest("b"))

	number, err := w.Rollback(w.ctx, d.ID, 1, false)
	if err != nil || number != 3 {
		t.Fatalf("got release %d, %v", number, err)
	}
	w.wantState(d, deployment.InProgress)
	a := w.assignment("shop")
	web := a.Deployment.Workloads[0]
	if a.Deployment.Release != 3 || web.Image.Reference != "registry.example/acme/web:1.0@"+digest("a") {
		t.Errorf("the node is to run release %d, %+v", a.Deployment.Release, web)
	}
	// The node is to know it again: it is what the first release ran by its tag.
	if first := w.release(d, 1).Spec.Workloads[0]; web.Hash != first.Hash || web.Hash != spec.Hash(first) {
		t.Errorf("the hash is %s, want that of the first release, %s", web.Hash, first.Hash)
	}
	if env := environment(web); !slices.Equal(env, []string{"LEVEL=one"}) {
		t.Errorf("got environment %v", env)
	}
	w.succeed(d, digest("a"))
	r := w.release(d, 3)
	if r.Trigger != deployment.TriggerRollback || r.RollbackOf != 1 {
		t.Errorf("got %+v", r)
	}
	if first := w.release(d, 1); first.ConfigHash != r.ConfigHash || first.Spec.Workloads[0].Image.Reference != "registry.example/acme/web:1.0" {
		t.Errorf("the first release is %+v", first)
	}
	if n := value[int](w, "select count(*) from audit_log where event = 'deployment.rollback' and data ->> 'rollbackOf' = '1'"); n != 1 {
		t.Errorf("the audit log has %d rows of it", n)
	}
	// A rollback can be rolled back to: it is pinned already.
	if _, err := w.Rollback(w.ctx, d.ID, 3, false); err != nil {
		t.Fatal(err)
	}
	if got := w.assignment("shop").Deployment.Workloads[0]; got.Image.Reference != web.Image.Reference || got.Hash != web.Hash {
		t.Errorf("the node is to run %+v", got)
	}
}

func TestRollbackRunsTheInitAndConfigurationImagesOfThen(t *testing.T) {
	w := newWorld(t)
	d, version := w.shop(spec.Container{
		InitContainers:  []spec.InitContainer{{Name: "prepare", Image: "acme/prepare:1"}, {Name: "unknown", Image: "acme/unknown:1"}},
		Volumes:         []spec.Volume{{Name: "config", Path: "/config"}},
		ConfigContainer: &spec.ConfigContainer{Image: "acme/config:2", Volume: "config", Path: "/etc/config"},
	})
	w.start(d)
	a := w.assignment("shop")
	web := a.Deployment.Workloads[0]
	status := deployment.Status{DeploymentID: d.ID, Generation: a.Generation, Phase: workload.PhaseSuccessful, Digests: map[string]string{
		web.InstanceID: digest("a"),
		deployment.OtherImage(web.InstanceID, "acme/prepare:1"): digest("b"),
		deployment.OtherImage(web.InstanceID, "acme/config:2"):  digest("c"),
		deployment.OtherImage(web.InstanceID, ""):               digest("d"),
		deployment.OtherImage("nobody", "acme/config:2"):        digest("d"),
	}}
	if err := w.RecordProgress(w.t.Context(), w.node, []deployment.Status{status}, nil); err != nil {
		t.Fatal(err)
	}
	first := w.release(d, 1)
	if len(first.Digests) != 3 || first.Digests[deployment.OtherImage(web.InstanceID, "acme/config:2")] != digest("c") {
		t.Errorf("the ledger has the digests %v", first.Digests)
	}
	others := first.Document()["containers"].(map[string]any)["web"].(map[string]any)["otherImages"]
	if want := map[string]any{"acme/prepare:1": digest("b"), "acme/config:2": digest("c")}; !reflect.DeepEqual(others, want) {
		t.Errorf("it shows %v, want %v", others, want)
	}
	w.configure(version, "acme/web", spec.Container{Environment: pairs("LEVEL", "two")})
	w.run(d, digest("a"))

	if _, err := w.Rollback(w.ctx, d.ID, 1, false); err != nil {
		t.Fatal(err)
	}
	again := w.assignment("shop").Deployment.Workloads[0]
	got := []string{again.Container.InitContainers[0].Image, again.Container.InitContainers[1].Image, again.Container.ConfigContainer.Image}
	if want := []string{"acme/prepare:1@" + digest("b"), "acme/unknown:1", "acme/config:2@" + digest("c")}; !slices.Equal(got, want) {
		t.Errorf("the node is to run %v, want %v", got, want)
	}
	if again.Hash != web.Hash {
		t.Error("the node does not know the workload again")
	}
	w.succeed(d, digest("a"))
	if last := w.release(d, 3); last.ConfigHash != first.ConfigHash {
		t.Error("the rollback counts as another configuration")
	}
}

func TestRollbackRefuses(t *testing.T) {
	w := newWorld(t)
	key := w.sealingKey()
	d, _ := w.shop(spec.Container{Secrets: []spec.Secret{{ID: "1", Key: "PASSWORD"}}})
	detail, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	err = w.UpdateInstance(w.ctx, d.ID, detail.Instances[0].ID, func(c spec.Container) spec.Container {
		c.Secrets = []spec.Secret{{ID: "1", Key: "PASSWORD", Value: "hunter2"}}
		return c
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = key
	w.run(d, digest("a"))             // 1
	w.deploy(d, workload.PhaseFailed) // 2
	w.run(d, "")                      // 3: an agent that tells no digests
	w.run(d, digest("a"))             // 4
	if _, err := w.HoldRelease(w.ctx, d.ID, 4, "it leaks"); err != nil {
		t.Fatal(err)
	}
	for number, reason := range map[int64]string{2: "", 3: deployment.ReasonDigestsUnknown, 4: deployment.ReasonHeld} {
		_, err := w.Rollback(w.ctx, d.ID, number, false)
		var e *apperr.Error
		if !errors.As(err, &e) || e.Kind != apperr.Precondition || e.Reason != reason {
			t.Errorf("release %d: %v", number, err)
		}
	}
	_, err = w.Rollback(w.ctx, d.ID, 5, false)
	wantError(t, err, apperr.NotFound, "number")
	w.sealingKey() // another agent, which cannot open what was sealed for the first
	_, err = w.Rollback(w.ctx, d.ID, 1, false)
	wantError(t, err, apperr.Precondition, "secretKeys")
	if n := w.assignment("shop").Deployment.Release; n != 4 {
		t.Errorf("the node is to run release %d, want 4", n)
	}
}

func TestWhatIsHeldIsNotStartedAgain(t *testing.T) {
	w := newWorld(t)
	d, version := w.shop(spec.Container{Environment: pairs("LEVEL", "one")})
	tag := digest("a") // what the tag stands for
	var asked []string
	w.Digest = func(_ context.Context, id uuid.UUID, reference string) (string, error) {
		asked = append(asked, reference)
		if tag == "" {
			return "", errors.New("the registry is away")
		}
		return tag, nil
	}
	w.run(d, digest("a"))
	if len(asked) != 0 {
		t.Errorf("asked for %v though nothing is held", asked)
	}
	held, err := w.HoldRelease(w.ctx, d.ID, 1, "it leaks")
	if err != nil || held.Hold == nil || held.Hold.Reason != "it leaks" || held.Hold.ByName != "Olga Owner" {
		t.Fatalf("got %+v, %v", held.Hold, err)
	}
	start := func() error {
		_, err := w.Start(w.ctx, d.ID, nil)
		return err
	}
	wantHeld := func(err error) {
		t.Helper()
		refused := wantError(t, err, apperr.Precondition, "release")
		if refused.Reason != deployment.ReasonHeld || refused.Value != int64(1) || !strings.Contains(refused.Message, "Olga Owner") || !strings.Contains(refused.Message, "it leaks") {
			t.Errorf("got %+v", refused)
		}
	}
	wantHeld(start())
	if !slices.Equal(asked, []string{"registry.example/acme/web:1.0"}) {
		t.Errorf("asked for %v", asked)
	}
	tag = "" // nobody can tell, so the tags decide
	wantHeld(start())
	tag = digest("b") // mended
	if err := start(); err != nil {
		t.Errorf("with another image behind the tag: %v", err)
	}
	tag = digest("a")
	w.configure(version, "acme/web", spec.Container{Environment: pairs("LEVEL", "two")})
	if err := start(); err != nil {
		t.Errorf("with another configuration: %v", err)
	}
	w.configure(version, "acme/web", spec.Container{Environment: pairs("LEVEL", "one")})
	wantHeld(start())
	if err := w.UnholdRelease(w.ctx, d.ID, 1); err != nil {
		t.Fatal(err)
	}
	if err := start(); err != nil {
		t.Errorf("after it was let go: %v", err)
	}
	wantError(t, w.UnholdRelease(w.ctx, d.ID, 1), apperr.Precondition, "number")
	_, err = w.HoldRelease(w.ctx, d.ID, 1, " ")
	wantError(t, err, apperr.Invalid, "reason")
	for _, event := range []string{"release.hold", "release.unhold"} {
		if n := value[int](w, "select count(*) from audit_log where event = $1", event); n != 1 {
			t.Errorf("the audit log has %d rows of %s", n, event)
		}
	}
}

func TestCompareNamesWhatDiffersAndHidesSecrets(t *testing.T) {
	w := newWorld(t)
	w.sealingKey()
	d, version := w.shop(spec.Container{
		Environment: pairs("LEVEL", "one", "a/b~c", "1", "SAME", "x"), Args: []spec.Key{{Key: "serve"}, {Key: "-v"}},
		Ports: []spec.Port{{Internal: 80, External: ptr(int32(8080))}}, Secrets: []spec.Secret{{ID: "1", Key: "PASSWORD"}},
	})
	detail, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	enter := func(value string) {
		err := w.UpdateInstance(w.ctx, d.ID, detail.Instances[0].ID, func(c spec.Container) spec.Container {
			c.Secrets = []spec.Secret{{ID: "1", Key: "PASSWORD", Value: value}}
			return c
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	enter("hunter2")
	w.run(d, digest("a"))
	enter("correct-horse")
	w.configure(version, "acme/web", spec.Container{
		Environment: pairs("LEVEL", "two", "MORE", "1", "SAME", "x"), Args: []spec.Key{{Key: "serve"}},
		Ports: []spec.Port{{Internal: 80, External: ptr(int32(8081))}}, Secrets: []spec.Secret{{ID: "1", Key: "PASSWORD"}},
	})
	w.image(version, 2, "acme/cache", spec.Container{})
	w.exec("insert into instances (id, deployment_id, image_id, updated_at) select gen_random_uuid(), $1, id, now() from images where name = 'acme/cache'", d.ID)
	w.run(d, digest("b"))

	got, err := w.Compare(w.ctx, d.ID, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	byPointer := map[string]deployment.Difference{}
	for _, one := range got {
		byPointer[one.Pointer] = one
		one.Pointer = ""
	}
	want := map[string][2]any{
		"/containers/web/environment/LEVEL":      {"one", "two"},
		"/containers/web/environment/MORE":       {nil, "1"},
		"/containers/web/environment/a~1b~0c":    {"1", nil},
		"/containers/web/args/1":                 {"-v", nil},
		"/containers/web/ports/80~1tcp/external": {int64(8080), int64(8081)},
		"/containers/web/image/digest":           {digest("a"), digest("b")},
		"/containers/web/secrets/PASSWORD":       {nil, nil},
		"/containers/cache/image/digest":         {nil, digest("b")},
		"/containers/cache/image/reference":      {nil, "registry.example/acme/cache:1.0"},
	}
	for pointer, values := range want {
		d, there := byPointer[pointer]
		if !there || d.From != values[0] || d.To != values[1] {
			t.Errorf("%s: got %+v, want %v", pointer, d, values)
		}
	}
	for pointer, d := range byPointer {
		if _, wanted := want[pointer]; !wanted && !strings.HasPrefix(pointer, "/containers/cache/") {
			t.Errorf("unexpected %+v", d)
		}
		if d.Secret != strings.Contains(pointer, "/secrets/") || d.Secret && (d.From != nil || d.To != nil) {
			t.Errorf("of a secret is told %+v", d)
		}
	}
	if again, err := w.Compare(w.ctx, d.ID, 2, 2); err != nil || len(again) != 0 {
		t.Errorf("a release differs from itself in %+v, %v", again, err)
	}
	first, second := w.release(d, 1).SecretVersions(), w.release(d, 2).SecretVersions()
	if len(first) != 1 || len(second) != 1 || first[0].Key != "PASSWORD" || first[0].Version == second[0].Version {
		t.Errorf("got secrets %+v, then %+v", first, second)
	}
	_, err = w.Compare(w.ctx, d.ID, 1, 7)
	wantError(t, err, apperr.NotFound, "number")
}

func TestThePolicyGoesToTheNode(t *testing.T) {
	w := newWorld(t)
	w.sealingKey() // there is an agent
	d, _ := w.shop(spec.Container{})
	w.start(d)
	if p := w.assignment("shop").Deployment.Policy; p != (spec.Policy{}) {
		t.Errorf("of what every agent does is said %+v", p)
	}
	want := spec.Policy{OnFailure: spec.OnFailureKeep, HealthWindowSeconds: 90, DrainSeconds: 5, Parallelism: 3}
	change := deployment.Change{Policy: deployment.PolicyChange{
		OnFailure: ptr(spec.OnFailureKeep), HealthWindowSeconds: ptr(int32(90)), DrainSeconds: ptr(int32(5)), Parallelism: ptr(int32(3)),
	}}
	w.report(d, workload.PhaseSuccessful, nil)
	if err := w.Update(w.ctx, d.ID, change); err != nil {
		t.Fatal(err)
	}
	_, err := w.Start(w.ctx, d.ID, nil) // an agent that does not know policies
	wantError(t, err, apperr.Unsupported, "policy")
	w.exec("update agents set capabilities = 'delta policy' where node_id = $1", w.node)
	w.start(d)
	if p := w.assignment("shop").Deployment.Policy; p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	w.report(d, workload.PhaseSuccessful, nil)
	if err := w.Update(w.ctx, d.ID, deployment.Change{Policy: deployment.PolicyChange{Drift: ptr(spec.DriftCorrect)}}); err != nil {
		t.Fatal(err)
	}
	_, err = w.Start(w.ctx, d.ID, nil) // an agent that does not notice
	wantError(t, err, apperr.Unsupported, "policy.drift")
	w.exec("update agents set capabilities = 'delta policy drift' where node_id = $1", w.node)
	w.start(d)
	want.Drift = spec.DriftCorrect
	if p := w.assignment("shop").Deployment.Policy; p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	bad := deployment.Change{Policy: deployment.PolicyChange{OnFailure: ptr(spec.OnFailure("explode"))}}
	wantError(t, w.Update(w.ctx, d.ID, bad), apperr.Invalid, "policy.onFailure")
	bad = deployment.Change{Policy: deployment.PolicyChange{Drift: ptr(spec.Drift("ignore"))}}
	wantError(t, w.Update(w.ctx, d.ID, bad), apperr.Invalid, "policy.drift")
	bad = deployment.Change{Policy: deployment.PolicyChange{DrainSeconds: ptr(int32(-1))}}
	wantError(t, w.Update(w.ctx, d.ID, bad), apperr.Invalid, "policy.drain")
}
