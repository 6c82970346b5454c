package deployment_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/seal"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func pairs(keysAndValues ...string) []spec.KeyValue {
	var list []spec.KeyValue
	for i := 0; i < len(keysAndValues); i += 2 {
		list = append(list, spec.KeyValue{ID: keysAndValues[i], Key: keysAndValues[i], Value: keysAndValues[i+1]})
	}
	return list
}

// environment returns "key=value" of a workload.
func environment(w spec.Workload) []string {
	var list []string
	for _, kv := range w.Container.Environment {
		list = append(list, kv.Key+"="+kv.Value)
	}
	return list
}

func TestStartFreezesTheRelease(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil)
	w.image(version, 1, "acme/web", spec.Container{Environment: pairs("A", "image", "B", "image")})
	d := w.create(version, "shop")
	detail, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	instance := detail.Instances[0].ID
	err = w.Update(w.ctx, d.ID, deployment.Change{Environment: ptr(pairs("A", "deployment", "C", "deployment"))})
	if err != nil {
		t.Fatal(err)
	}
	err = w.UpdateInstance(w.ctx, d.ID, instance, func(c spec.Container) spec.Container {
		c.User = ptr(int64(1000))
		return c
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := w.start(d); n != 1 {
		t.Errorf("the release has number %d, want 1", n)
	}

	a := w.assignment("shop")
	if a.Generation != 1 || a.DeploymentID != d.ID || a.Deployment == nil || a.Tombstone != "" {
		t.Fatalf("got assignment %+v", a)
	}
	got := a.Deployment
	if got.ID != d.ID.String() || got.Prefix != "shop" || got.Release != 1 || len(got.Workloads) != 1 {
		t.Fatalf("got release %+v", got)
	}
	web := got.Workloads[0]
	if web.Name() != "web" || web.InstanceID != instance.String() || web.Image.Reference != "registry.example/acme/web:1.0" ||
		web.Image.RegistryID != w.registry.String() || *web.Container.User != 1000 {
		t.Errorf("got workload %+v", web)
	}
	if env := environment(web); !slices.Equal(env, []string{"C=deployment", "A=image", "B=image"}) {
		t.Errorf("got environment %v", env)
	}
	if web.Hash == "" || web.Hash != spec.Hash(web) {
		t.Errorf("the hash is %q, want %q: what was stored is not what was hashed", web.Hash, spec.Hash(web))
	}
	w.wantState(d, deployment.InProgress)

	// What is changed afterwards does not reach into the release.
	w.configure(version, "acme/web", spec.Container{Environment: pairs("A", "changed")})
	if env := environment(w.assignment("shop").Deployment.Workloads[0]); !slices.Contains(env, "A=image") {
		t.Errorf("the release changed with its image: %v", env)
	}
}

func TestStartTellsWhoNeedsToKnow(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.exec("listen fairlead_node")
	w.start(d)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	notice, err := w.rows.WaitForNotification(ctx)
	if err != nil || notice.Payload != w.node.String() {
		t.Errorf("heard %+v, %v; want the node's id", notice, err)
	}
	entries := w.log(d)
	if len(entries) != 1 || entries[0].Type != deployment.EntryState || entries[0].State != deployment.InProgress || entries[0].Release != 1 {
		t.Errorf("got log %+v", entries)
	}
	if n := value[int](w, "select count(*) from audit_log where event = 'deployment.start' and data ->> 'release' = '1'"); n != 1 {
		t.Errorf("the audit log has %d rows of it, want 1", n)
	}
}

func TestStartRefuses(t *testing.T) {
	port := func(external int32) spec.Container {
		return spec.Container{Ports: []spec.Port{{Internal: 80, External: ptr(external)}}}
	}
	tests := map[string]struct {
		images map[string]spec.Container
		some   []uuid.UUID
		kind   apperr.Kind
		field  string
	}{
		"no instances":             {map[string]spec.Container{"a": {}}, []uuid.UUID{}, apperr.Precondition, "instances"},
		"an instance of another":   {map[string]spec.Container{"a": {}}, []uuid.UUID{uuid.New()}, apperr.NotFound, "instances"},
		"two of the same name":     {map[string]spec.Container{"a": {Name: ptr("x")}, "b": {Name: ptr("x")}}, nil, apperr.Invalid, "workloads[1].name"},
		"a port published twice":   {map[string]spec.Container{"a": port(8080), "b": port(8080)}, nil, apperr.Invalid, "workloads[1].ports[0].external"},
		"an impossible port":       {map[string]spec.Container{"a": port(70000)}, nil, apperr.Invalid, "workloads[0].ports[0].external"},
		"a secret without a value": {map[string]spec.Container{"a": {Secrets: []spec.Secret{{ID: "1", Key: "PASSWORD", Required: true}}}}, nil, apperr.Precondition, "instanceSecrets"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			version := w.version(w.project("shop"), "rolling", nil)
			for i, name := range []string{"a", "b"} {
				if config, there := test.images[name]; there {
					w.image(version, i+1, name, config)
				}
			}
			d := w.create(version, "shop")
			_, err := w.Start(w.ctx, d.ID, test.some)
			wantError(t, err, test.kind, test.field)
			w.wantState(d, deployment.Preparing)
			if set := w.set(); set.Generation != 0 || len(set.Assignments) != 0 {
				t.Errorf("the node is to run %+v", set)
			}
		})
	}
}

func TestMissingSecretsAreNamed(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil)
	w.image(version, 1, "web", spec.Container{Secrets: []spec.Secret{
		{ID: "1", Key: "PASSWORD", Required: true}, {ID: "2", Key: "OPTIONAL"},
	}})
	d := w.create(version, "shop")
	detail, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	instance := detail.Instances[0].ID
	_, err = w.Start(w.ctx, d.ID, nil)
	refused := wantError(t, err, apperr.Precondition, "instanceSecrets")
	list, ok := refused.Value.([]map[string]any)
	if !ok || len(list) != 1 || list[0]["instanceId"] != instance || !slices.Equal(list[0]["secretKeys"].([]string), []string{"PASSWORD"}) {
		t.Errorf("got %v", refused.Value)
	}
	enter := func(s spec.Secret) error {
		s.ID, s.Key, s.Required = "1", "PASSWORD", true
		return w.UpdateInstance(w.ctx, d.ID, instance, func(c spec.Container) spec.Container {
			c.Secrets = []spec.Secret{s}
			return c
		})
	}
	// The node has no agent yet, and so no key to seal to.
	wantError(t, enter(spec.Secret{Value: "open sesame"}), apperr.Precondition, "config.secrets[0].value")

	key := w.sealingKey()
	if err := enter(spec.Secret{Value: "open sesame"}); err != nil {
		t.Fatal(err)
	}
	w.deploy(d, workload.PhaseSuccessful)
	stored := w.instanceSecrets(instance)
	if strings.Contains(stored, "sesame") || !strings.Contains(stored, key.Public()) {
		t.Errorf("stored as %s", stored)
	}
	known, err := w.InstanceSecrets(w.ctx, d.ID, instance)
	if err != nil || known.PublicKey != key.Public() || !slices.Equal(known.Keys, []string{"PASSWORD"}) || known.Name != "web" || known.Prefix != "shop" {
		t.Errorf("known of the secrets: %+v, %v", known, err)
	}
	if value, err := key.Open(w.assignment("shop").Deployment.Workloads[0].Container.Secrets[0].Value); err != nil || value != "open sesame" {
		t.Errorf("the node reads %q, %v", value, err)
	}

	// Sealed by whoever enters it: to this key, and to no other.
	sealed, err := seal.Seal(key.Public(), "from elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	if err := enter(spec.Secret{Value: sealed, Encrypted: true, PublicKey: key.Public()}); err != nil {
		t.Fatal(err)
	}
	other, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, enter(spec.Secret{Value: sealed + "x", Encrypted: true, PublicKey: other.Public()}), apperr.Invalid, "config.secrets[0].publicKey")
	wantError(t, enter(spec.Secret{Value: "in the clear", Encrypted: true}), apperr.Invalid, "config.secrets[0].value")

	// The agent is installed anew and has another key: what was entered can't be opened.
	w.sealingKey()
	_, err = w.Start(w.ctx, d.ID, nil)
	wantError(t, err, apperr.Precondition, "instanceSecrets")
	if known, err := w.InstanceSecrets(w.ctx, d.ID, instance); err != nil || len(known.Keys) != 0 {
		t.Errorf("after a new installation: %+v, %v", known, err)
	}
	// What is stored may stay while something else is changed.
	if err := enter(spec.Secret{Value: sealed, Encrypted: true, PublicKey: key.Public()}); err != nil {
		t.Errorf("a change beside an old value: %v", err)
	}
}

func TestStartDependsOnTheState(t *testing.T) {
	tests := map[string]struct {
		kind  string
		phase workload.Phase
		ok    bool
	}{
		"a rolling one that runs":      {"rolling", workload.PhaseSuccessful, true},
		"an incremental one that runs": {"incremental", workload.PhaseSuccessful, false},
		"one that failed":              {"incremental", workload.PhaseFailed, true},
		"one in progress":              {"incremental", workload.PhaseInProgress, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.create(w.version(w.project("shop"), test.kind, nil, "web"), "shop")
			w.deploy(d, test.phase)
			n, err := w.Start(w.ctx, d.ID, nil)
			if !test.ok {
				wantError(t, err, apperr.Precondition, "status")
				return
			}
			if err != nil || n != 2 {
				t.Errorf("got release %d, %v; want 2", n, err)
			}
			if a := w.assignment("shop"); a.Generation != 2 || a.Deployment.Release != 2 {
				t.Errorf("got assignment %+v", a)
			}
		})
	}
}

func TestStartOverOneInProgressSupersedes(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.deploy(d, workload.PhaseInProgress)
	old := w.assignment("shop")
	w.start(d)
	if got := w.outcomes(d); !slices.Equal(got, []deployment.Outcome{deployment.OutcomePending, deployment.OutcomeSuperseded}) {
		t.Errorf("got outcomes %v", got)
	}
	late := deployment.Status{DeploymentID: d.ID, Generation: old.Generation, Release: 1, Phase: workload.PhaseSuccessful}
	if err := w.RecordProgress(t.Context(), w.node, []deployment.Status{late}, nil); err != nil {
		t.Fatal(err)
	}
	w.wantState(d, deployment.InProgress)
}

func TestStartOverAnotherDeploymentInProgress(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	v1 := w.version(project, "incremental", nil, "web")
	v2 := w.version(project, "incremental", &v1, "web")
	first, second := w.create(v1, "shop"), w.create(v2, "shop")
	w.deploy(first, workload.PhaseInProgress)
	w.start(second)
	w.wantState(first, deployment.Obsolete)
	w.start(first)
	w.wantState(second, deployment.Downgraded)
	if a := w.assignment("shop"); a.DeploymentID != first.ID || a.Generation != 3 {
		t.Errorf("got assignment %+v", a)
	}
}

func TestStartingSomeKeepsTheOthersAsTheyRun(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web", "db", "late")
	d := w.create(version, "shop")
	detail, err := w.Get(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	web, db := detail.Instances[0].ID, detail.Instances[1].ID
	if _, err := w.Start(w.ctx, d.ID, []uuid.UUID{web, db}); err != nil {
		t.Fatal(err)
	}
	before := w.assignment("shop").Deployment.Workloads
	for _, name := range []string{"web", "db"} {
		w.configure(version, name, spec.Container{Environment: pairs("NEW", "yes")})
	}
	if _, err := w.Start(w.ctx, d.ID, []uuid.UUID{web}); err != nil {
		t.Fatal(err)
	}
	after := w.assignment("shop").Deployment.Workloads
	if len(before) != 2 || len(after) != 2 {
		t.Fatalf("got %d workloads, then %d; want 2 each: the third was never started", len(before), len(after))
	}
	if after[0].Hash == before[0].Hash || len(after[0].Container.Environment) != 1 {
		t.Errorf("what was started did not change: %+v", after[0])
	}
	if after[1].Hash != before[1].Hash || len(after[1].Container.Environment) != 0 {
		t.Errorf("what was not started changed: %+v", after[1])
	}
}

func TestStartingSomeOfTheNextVersionKeepsWhatHasTheSameName(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	v1 := w.version(project, "incremental", nil, "web", "db")
	v2 := w.version(project, "incremental", &v1, "web", "db")
	first, second := w.create(v1, "shop"), w.create(v2, "shop")
	w.deploy(first, workload.PhaseSuccessful)
	detail, err := w.Get(w.ctx, second.ID)
	if err != nil {
		t.Fatal(err)
	}
	before := w.assignment("shop").Deployment.Workloads
	if _, err := w.Start(w.ctx, second.ID, []uuid.UUID{detail.Instances[0].ID}); err != nil {
		t.Fatal(err)
	}
	after := w.assignment("shop").Deployment.Workloads
	if len(after) != 2 || after[0].InstanceID != detail.Instances[0].ID.String() || after[1].Hash != before[1].Hash {
		t.Errorf("got %+v after %+v", after, before)
	}
}

func TestConcurrentStartsAreOneAfterTheOther(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	const starts = 4
	numbers, errs := make([]int64, starts), make([]error, starts)
	var all sync.WaitGroup
	for i := range starts {
		all.Go(func() { numbers[i], errs[i] = w.Start(w.ctx, d.ID, nil) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("a start failed: %v", err)
		}
	}
	slices.Sort(numbers)
	if !slices.Equal(numbers, []int64{1, 2, 3, 4}) {
		t.Errorf("got releases %v", numbers)
	}
	set := w.set()
	if len(set.Assignments) != 1 || set.Generation != starts || set.Assignments[0].Generation != starts || set.Assignments[0].Deployment.Release != starts {
		t.Errorf("got set %+v", set)
	}
	want := []deployment.Outcome{deployment.OutcomePending, deployment.OutcomeSuperseded, deployment.OutcomeSuperseded, deployment.OutcomeSuperseded}
	if got := w.outcomes(d); !slices.Equal(got, want) {
		t.Errorf("got outcomes %v, want %v", got, want)
	}
}

func TestStartWhileTheNodeIsAwayWaits(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	waiting := func() string {
		t.Helper()
		detail, err := w.Get(w.ctx, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		return detail.Waiting
	}
	if got := waiting(); got != "" {
		t.Errorf("a deployment that was not started waits: %q", got)
	}
	w.start(d)
	if got := waiting(); !strings.Contains(got, "no agent yet") {
		t.Errorf("got %q of a node that was never there", got)
	}
	w.live[w.node] = deployment.LivenessInfo{Status: "lost", Since: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	if got := waiting(); !strings.Contains(got, "unreachable since 2030-01-02T03:04:05Z; release 1 will be delivered") {
		t.Errorf("got %q of a node that is away", got)
	}
	w.live[w.node] = deployment.LivenessInfo{Status: "connected", Since: now()}
	if got := waiting(); got != "" {
		t.Errorf("got %q of a node that is there", got)
	}
}

func TestNodeTakesOnlyWhatCanBeSent(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil)
	var huge []spec.KeyValue
	for i := range 250 {
		huge = append(huge, pairs("KEY"+uuid.NewString(), strings.Repeat("x", 60_000+i))...)
	}
	w.image(version, 1, "web", spec.Container{Environment: huge})
	d := w.create(version, "shop")
	_, err := w.Start(w.ctx, d.ID, nil)
	wantError(t, err, apperr.Precondition, "nodeId")
	if len(w.set().Assignments) != 0 {
		t.Error("the node is to run it all the same")
	}
}
