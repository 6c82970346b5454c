package workloadtest

import (
	"context"
	"slices"
	"strings"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func infoDescribes(b *bench) {
	info, err := b.Driver.Info(b.ctx)
	if err != nil {
		b.Fatal(err)
	}
	for field, value := range map[string]string{
		"ID": info.ID, "Name": info.Name, "Version": info.Version, "OS": info.OS, "Architecture": info.Architecture,
	} {
		if value == "" {
			b.Errorf("Info().%s is empty", field)
		}
	}
}

func applyRunsAll(b *bench) {
	d := b.release(1, b.workload("web", greeting("web")), b.workload("db"))
	b.apply(d)
	for _, w := range d.Workloads {
		c := b.running(w.Name())
		if !c.Managed || c.DeploymentID != d.ID || c.InstanceID != w.InstanceID || c.Release != 1 || c.SpecHash != w.Hash || c.EngineID == "" {
			b.Errorf("container of %s is %+v", w.Name(), c)
		}
		if !slices.ContainsFunc(b.events, func(e workload.Event) bool {
			return e.InstanceID == w.InstanceID && e.State == spec.StateRunning
		}) {
			b.Errorf("no event says that %s runs; events: %+v", w.Name(), b.events)
		}
	}
}

func applyKeeps(b *bench) {
	b.apply(b.release(1, b.workload("web"), b.workload("db")))
	web, db := b.running("web"), b.running("db")
	b.apply(b.release(2, b.workload("web"), b.workload("db")))
	if got := b.running("web"); got.EngineID != web.EngineID {
		b.Errorf("web is container %s, want it kept as %s", got.EngineID, web.EngineID)
	}
	if got := b.running("db"); got.EngineID != db.EngineID {
		b.Errorf("db is container %s, want it kept as %s", got.EngineID, db.EngineID)
	}
}

func applyStartsStopped(b *bench) {
	d := b.release(1, b.workload("web"))
	b.apply(d)
	before := b.running("web")
	if err := b.Driver.Stop(b.ctx, before.ID); err != nil {
		b.Fatalf("Stop: %v", err)
	}
	b.apply(d)
	if after := b.running("web"); after.EngineID != before.EngineID {
		b.Errorf("web is container %s, want %s started again", after.EngineID, before.EngineID)
	}
}

func applyReplaces(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("one")), b.workload("db")))
	web, db := b.running("web"), b.running("db")
	b.apply(b.release(2, b.workload("web", greeting("two")), b.workload("db")))
	after := b.running("web")
	if after.EngineID == web.EngineID || after.Release != 2 {
		b.Errorf("web is %+v, want another container, of release 2", after)
	}
	if got := b.running("db"); got.EngineID != db.EngineID {
		b.Errorf("db was replaced although it did not change")
	}
	if n := b.runningUnder(b.prefix); n != 2 {
		b.Errorf("%d containers of the prefix run, want 2", n)
	}
	if log := b.webLog(); !slices.ContainsFunc(log, func(l workload.LogLine) bool { return l.Text == "hello two" }) {
		b.Errorf("web wrote %v, want the new greeting", log)
	}
}

func applyExpectsEnd(b *bench) {
	no := spec.RestartNo
	job := func(code string) spec.Workload {
		return b.workload("job", exits(code), func(c *spec.Container) {
			c.RestartPolicy = &no
			c.ExpectedState = &spec.ExpectedState{State: spec.StateExited, ExitCode: 4}
		})
	}
	b.apply(b.release(1, job("4")))
	c, ok := b.serving("job")
	if !ok || c.State != spec.StateExited || c.ExitCode != 4 {
		b.Errorf("job is %+v, want it exited with 4", c)
	}
	failure := b.applyFails(b.release(2, job("5")))
	if failure.ExitCode == nil || *failure.ExitCode != 5 {
		b.Errorf("failure card %+v, want exit code 5", failure)
	}
}

func failureKeepsOld(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("one"))))
	before := b.running("web")
	failure := b.applyFails(b.release(2, b.workload("web", greeting("two"), exits("3"))))
	if failure.Step != workload.StepHealth || failure.InstanceID != "instance-web" || !failure.RolledBack {
		b.Errorf("failure card %+v, want step health of instance-web, rolled back", failure)
	}
	if failure.ExitCode == nil || *failure.ExitCode != 3 {
		b.Errorf("failure card has exit code %v, want 3", failure.ExitCode)
	}
	if !slices.ContainsFunc(failure.LogTail, func(l string) bool { return strings.Contains(l, "hello two") }) {
		b.Errorf("failure card has the log %q, want what the container wrote", failure.LogTail)
	}
	after := b.running("web")
	if after.EngineID != before.EngineID || after.Release != 1 {
		b.Errorf("web is %+v, want the container of release 1 untouched", after)
	}
	if n := b.runningUnder(b.prefix); n != 1 {
		b.Errorf("%d containers of the prefix run, want 1", n)
	}
	b.apply(b.release(3, b.workload("web", greeting("three"))))
	if got := b.running("web"); got.Release != 3 {
		b.Errorf("web is of release %d, want 3", got.Release)
	}
}

func failureIsWhole(b *bench) {
	b.apply(b.release(1, b.workload("first"), b.workload("second"), b.workload("third")))
	before := map[string]string{}
	for _, name := range []string{"first", "second", "third"} {
		before[name] = b.running(name).EngineID
	}
	_ = b.applyFails(b.release(2,
		b.workload("first", greeting("new")), b.workload("second", exits("1")), b.workload("third", greeting("new"))))
	for name, id := range before {
		if got := b.running(name); got.EngineID != id {
			b.Errorf("%s was replaced although the release failed", name)
		}
	}
	if n := b.runningUnder(b.prefix); n != 3 {
		b.Errorf("%d containers of the prefix run, want 3", n)
	}
}

func failureOfPull(b *bench) {
	b.apply(b.release(1, b.workload("web"), b.workload("db")))
	web, db := b.running("web"), b.running("db")
	missing := b.workload("db")
	missing.Image.Reference = b.MissingImage
	failure := b.applyFails(b.release(2, b.workload("web", greeting("new")), missing))
	if failure.Step != workload.StepPull || !failure.RolledBack || failure.InstanceID != "instance-db" {
		b.Errorf("failure card %+v, want step pull of instance-db, rolled back", failure)
	}
	b.wantKind("Apply with a missing image", failure, apperr.NotFound, apperr.Unavailable)
	if !strings.Contains(failure.Error(), b.MissingImage) {
		b.Errorf("failure %q does not name the image", failure)
	}
	if b.running("web").EngineID != web.EngineID || b.running("db").EngineID != db.EngineID {
		b.Error("containers were replaced although an image could not be pulled")
	}
}

func failureOfFirst(b *bench) {
	_ = b.applyFails(b.release(1, b.workload("db"), b.workload("web", exits("1"))))
	if n := b.runningUnder(b.prefix); n != 0 {
		b.Errorf("%d containers of a failed first release run, want none", n)
	}
	b.apply(b.release(2, b.workload("db"), b.workload("web")))
	b.running("web")
}

func applyRetires(b *bench) {
	b.apply(b.release(1, b.workload("web"), b.workload("old")))
	b.apply(b.release(2, b.workload("web")))
	b.running("web")
	if c, ok := b.serving("old"); ok {
		b.Errorf("container %+v is still there", c)
	}
}

func cancelConverges(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("one"))))
	next := b.release(2, b.workload("web", greeting("two")), b.workload("db"))
	ctx, cancel := context.WithCancel(b.ctx)
	cancelAtFirst := workload.ReporterFunc(func(workload.Event) { cancel() })
	if err := b.Driver.Apply(ctx, next, cancelAtFirst); err == nil {
		b.Error("Apply succeeded although its context ended at its first event")
	}
	if n := b.runningUnder(b.prefix); n == 0 {
		b.Error("nothing runs after a cancelled Apply")
	}
	b.apply(next)
	if got := b.running("web"); got.Release != 2 {
		b.Errorf("web is of release %d, want 2", got.Release)
	}
	b.running("db")
	if n := b.runningUnder(b.prefix); n != 2 {
		b.Errorf("%d containers of the prefix run, want 2", n)
	}
}

func unsupportedIsNamed(b *bench) {
	key := ""
	d := b.release(1, b.workload("web", func(c *spec.Container) { key = b.Unsupported(c) }))
	err := b.Driver.Check(d)
	b.wantKind("Check", err, apperr.Unsupported)
	if err != nil && (!strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), `"web"`)) {
		b.Errorf("Check: %v, want it to name %s and the instance", err, key)
	}
	failure := b.applyFails(d)
	b.wantKind("Apply", failure, apperr.Unsupported)
	if failure.Step != workload.StepCheck {
		b.Errorf("Apply failed at step %s, want check", failure.Step)
	}
	if err := b.Driver.Check(b.release(1, b.workload("web"))); err != nil {
		b.Errorf("Check of a plain deployment: %v", err)
	}
}
