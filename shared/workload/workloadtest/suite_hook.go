package workloadtest

import (
	"context"
	"slices"
	"strings"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// hooked gives a workload a hook that works for some seconds and ends with a
// code.
func hooked(kind spec.HookKind, seconds, code string, timeout int32) change {
	return func(c *spec.Container) {
		h := &spec.Hook{Args: []spec.Key{{Key: "work"}, {Key: seconds}, {Key: code}}, TimeoutSeconds: timeout}
		if kind == spec.HookPreDeploy {
			c.Hooks = &spec.Hooks{PreDeploy: h}
		} else {
			c.Hooks = &spec.Hooks{PostDeploy: h}
		}
	}
}

// runs are the words of the runs of hooks that events tell of, each once.
func (b *bench) runs(kind spec.HookKind) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var words []string
	for _, e := range b.events {
		for _, line := range e.Lines {
			if word, of := strings.CutPrefix(line, string(kind)+": run "); of && !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
	}
	return words
}

func (b *bench) wantRuns(when string, kind spec.HookKind, n int) {
	b.Helper()
	if words := b.runs(kind); len(words) != n {
		b.Errorf("%s: the %s hook ran %d times (%v), want %d; events: %+v", when, kind, len(words), words, n, b.events)
	}
}

func hookRunsBefore(b *bench) {
	web := func(greets string) spec.Workload {
		return b.workload("web", greeting(greets), hooked(spec.HookPreDeploy, "0", "0", 60))
	}
	first := b.release(1, web("one"), b.workload("db"))
	plan, err := b.Driver.Plan(b.ctx, first)
	if err != nil {
		b.Fatal(err)
	}
	if got := plan.Workloads[0].Hooks; !slices.Equal(got, []spec.HookKind{spec.HookPreDeploy}) || len(plan.Workloads[1].Hooks) > 0 {
		b.Errorf("the plan tells of the hooks %v and %v", got, plan.Workloads[1].Hooks)
	}
	b.apply(first)
	b.running("web")
	b.wantRuns("the first release", spec.HookPreDeploy, 1)
	ran := slices.IndexFunc(b.events, func(e workload.Event) bool {
		return slices.ContainsFunc(e.Lines, func(l string) bool { return strings.HasPrefix(l, "pre-deploy: run ") })
	})
	started := slices.IndexFunc(b.events, func(e workload.Event) bool { return e.State == spec.StateRunning })
	if ran < 0 || started < ran {
		b.Errorf("the hook is told of in event %d, a container that runs in event %d", ran, started)
	}
	b.apply(b.release(2, web("one"), b.workload("db", greeting("new"))))
	b.wantRuns("a release that leaves the workload as it is", spec.HookPreDeploy, 1)
	b.apply(b.release(3, web("two"), b.workload("db", greeting("new"))))
	b.wantRuns("a release that changes the workload", spec.HookPreDeploy, 2)
}

func hookKeepsOld(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("one"))))
	before := b.running("web")
	failure := b.applyFails(b.release(2, b.workload("web", greeting("two"), hooked(spec.HookPreDeploy, "0", "5", 60))))
	if failure.Step != workload.StepPreDeploy || failure.InstanceID != "instance-web" || !failure.RolledBack || failure.Container == "" {
		b.Errorf("failure card %+v, want step pre-deploy of instance-web, rolled back", failure)
	}
	if failure.ExitCode == nil || *failure.ExitCode != 5 {
		b.Errorf("failure card has exit code %v, want 5", failure.ExitCode)
	}
	if !slices.ContainsFunc(failure.LogTail, func(l string) bool { return strings.HasPrefix(l, "run ") }) {
		b.Errorf("failure card has the log %q, want what the hook wrote", failure.LogTail)
	}
	if after := b.running("web"); after.EngineID != before.EngineID {
		b.Errorf("web is %+v, want the container of release 1 untouched", after)
	}
	if n := b.runningUnder(b.prefix); n != 1 {
		b.Errorf("%d containers of the prefix run, want 1", n)
	}
	b.wantRuns("the failing release", spec.HookPreDeploy, 1)
	b.apply(b.release(3, b.workload("web", greeting("two"), hooked(spec.HookPreDeploy, "0", "0", 60))))
	b.running("web")
	b.wantRuns("the release after it", spec.HookPreDeploy, 2)
}

func hookTakesTooLong(b *bench) {
	failure := b.applyFails(b.release(1, b.workload("web", hooked(spec.HookPreDeploy, "600", "0", 1))))
	if failure.Step != workload.StepPreDeploy {
		b.Errorf("failure card %+v, want step pre-deploy", failure)
	}
	b.eventually("nothing runs", func() (bool, any) { n := b.runningUnder(b.prefix); return n == 0, n })
}

func hookRunsAfter(b *bench) {
	first := b.release(1, b.workload("web", greeting("one"), hooked(spec.HookPostDeploy, "0", "0", 60)))
	b.apply(first)
	b.running("web")
	b.wantRuns("the first release", spec.HookPostDeploy, 1)
	b.apply(first)
	b.wantRuns("the same release again", spec.HookPostDeploy, 1)
	if warned(b.events) {
		b.Errorf("a hook that went well is warned of: %+v", b.events)
	}
	b.apply(b.release(2, b.workload("web", greeting("two"), hooked(spec.HookPostDeploy, "0", "3", 60))))
	if got := b.running("web"); got.Release != 2 {
		b.Errorf("web is %+v, want it of release 2: a post-deploy hook takes nothing back", got)
	}
	b.wantRuns("the second release", spec.HookPostDeploy, 2)
	if !warned(b.events) {
		b.Errorf("nothing warns of the post-deploy hook that failed: %+v", b.events)
	}
	_ = b.applyFails(b.release(3, b.workload("web", exits("1"), hooked(spec.HookPostDeploy, "0", "0", 60))))
	b.wantRuns("a release that failed", spec.HookPostDeploy, 2)
}

func warned(events []workload.Event) bool {
	return slices.ContainsFunc(events, func(e workload.Event) bool {
		return e.Level == workload.LevelWarn && slices.ContainsFunc(e.Lines, func(l string) bool { return strings.Contains(l, "post-deploy hook") })
	})
}

func hookRunsOnce(b *bench) {
	seconds := "3"
	if b.Pods {
		seconds = "12" // what a pod says may come seconds later
	}
	for i, kind := range []spec.HookKind{spec.HookPreDeploy, spec.HookPostDeploy} {
		release := int64(i + 1)
		d := b.release(release, b.workload("web", greeting(string(kind)), hooked(kind, seconds, "0", 60)))
		ctx, cancel := context.WithCancel(b.ctx)
		cut := workload.ReporterFunc(func(e workload.Event) {
			b.Report(e)
			if len(b.runs(kind)) > 0 {
				cancel()
			}
		})
		if err := b.Driver.Apply(ctx, d, cut); err == nil {
			b.Errorf("%s: Apply succeeded although its context ended while the hook ran", kind)
		}
		cancel()
		b.wantRuns("cut off", kind, 1)
		b.apply(d)
		b.wantRuns("applied again", kind, 1)
		if got := b.running("web"); got.Release != release {
			b.Errorf("%s: web is of release %d", kind, got.Release)
		}
		b.apply(d)
		b.wantRuns("applied once more", kind, 1)
	}
}
