package workloadtest

import (
	"slices"
	"strings"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func conflictWithForeign(b *bench) {
	name := spec.ContainerName(b.prefix, "web")
	b.AddForeign(b.T, name)
	failure := b.applyFails(b.release(1, b.workload("web")))
	b.wantKind("Apply over a foreign container", failure, apperr.Conflict)
	if !strings.Contains(failure.Error(), name) {
		b.Errorf("failure %q does not name the container", failure)
	}
	list := b.list()
	i := slices.IndexFunc(list, func(c workload.Container) bool { return c.ID == workload.ContainerID{Name: name} })
	if i < 0 || list[i].State != spec.StateRunning || list[i].Managed {
		b.Errorf("the foreign container was touched: %+v", list)
	}
}

func conflictWithOther(b *bench) {
	if b.Pods {
		b.Skip("a prefix is a namespace: names under two never meet")
	}
	// "<p>" with "b-web" and "<p>-b" with "web" come to one engine name.
	other := b.under(b.prefix + "-b")
	other.apply(other.release(1, other.workload("web")))
	before := other.running("web")
	failure := b.applyFails(b.release(1, b.workload("b-web", greeting("other"))))
	b.wantKind("Apply over another prefix", failure, apperr.Conflict)
	if failure.RolledBack || !strings.Contains(failure.Error(), spec.ContainerName(b.prefix, "b-web")) {
		b.Errorf("failure card %+v, want it to name the container and nothing rolled back", failure)
	}
	if got := other.running("web"); got.EngineID != before.EngineID {
		b.Errorf("web is %+v, want the one under %s untouched", got, other.prefix)
	}
	id := workload.ContainerID{Prefix: b.prefix, Name: "b-web"}
	b.wantKind("Stop under another prefix", b.Driver.Stop(b.ctx, id), apperr.NotFound)
	other.running("web")
}

func takeoverReplaces(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("one")), b.workload("db"), b.workload("old")))
	web, db := b.running("web"), b.running("db")

	next := b.successor()
	d := next.release(1, next.workload("web", greeting("two")), next.workload("db"), next.workload("new"))
	next.apply(d)
	got := next.running("web")
	if got.EngineID == web.EngineID || got.DeploymentID != next.id || got.SpecHash != d.Workloads[0].Hash {
		b.Errorf("web is %+v, want the next deployment's", got)
	}
	if got := next.running("db"); got.EngineID != db.EngineID {
		b.Errorf("db is container %s, want it kept as %s: it did not change", got.EngineID, db.EngineID)
	}
	next.running("new")
	if c, ok := b.serving("old"); ok {
		b.Errorf("container %+v is still there although it is no longer named", c)
	}
	if n := b.runningUnder(b.prefix); n != 3 {
		b.Errorf("%d containers of the prefix run, want 3", n)
	}
}

func takeoverKeepsOld(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("one")), b.workload("old")))
	web, old := b.running("web"), b.running("old")
	serves := func(when string) {
		b.Helper()
		if got := b.running("web"); got.EngineID != web.EngineID || got.DeploymentID != b.id {
			b.Errorf("%s web is %+v, want the old deployment's untouched", when, got)
		}
		if got := b.running("old"); got.EngineID != old.EngineID {
			b.Errorf("%s old is %+v, want it untouched", when, got)
		}
		if n := b.runningUnder(b.prefix); n != 2 {
			b.Errorf("%s %d containers of the prefix run, want 2", when, n)
		}
	}

	next := b.successor()
	missing := next.workload("web")
	missing.Image.Reference = b.MissingImage
	for what, d := range map[string]spec.Deployment{
		"after an image that is missing": next.release(1, missing, next.workload("new")),
		"after a container that ends":    next.release(2, next.workload("new"), next.workload("web", greeting("two"), exits("3"))),
	} {
		if failure := next.applyFails(d); !failure.RolledBack {
			b.Errorf("%s: failure card %+v, want it rolled back", what, failure)
		}
		serves(what)
	}
	next.apply(next.release(3, next.workload("web", greeting("three"))))
	if got := next.running("web"); got.DeploymentID != next.id || got.Release != 3 {
		b.Errorf("web is %+v, want release 3 of the next deployment", got)
	}
	if n := b.runningUnder(b.prefix); n != 1 {
		b.Errorf("%d containers of the prefix run, want 1", n)
	}
}

func removeRemoves(b *bench) {
	b.apply(b.release(1, b.workload("web"), b.workload("db")))
	next := b.successor()
	_ = next.applyFails(next.release(1, next.workload("web", exits("1"))))
	var others []*bench
	for _, prefix := range []string{b.prefix + "-b", b.prefix + "0"} {
		other := b.under(prefix)
		other.apply(other.release(1, other.workload("web")))
		others = append(others, other)
	}

	if err := b.Driver.Remove(b.ctx, b.prefix, b); err != nil {
		b.Fatalf("Remove: %v", err)
	}
	for _, c := range b.list() {
		if c.Managed && c.ID.Prefix == b.prefix {
			b.Errorf("container %+v is still there", c)
		}
	}
	for _, other := range others {
		other.running("web")
	}
	if err := b.Driver.Remove(b.ctx, b.prefix, b); err != nil {
		b.Errorf("Remove again: %v", err)
	}
	for _, other := range others {
		other.running("web")
	}
}
