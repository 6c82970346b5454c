package docker_test

import (
	"slices"
	"testing"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/keptlog"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

func TestLogsSurviveTheirContainer(t *testing.T) {
	store, err := keptlog.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	options := quick()
	options.KeptLogs = store
	s := newSite(t, options)
	says := func(name string) (lines []string) {
		t.Helper()
		err := s.driver.Logs(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: name}, workload.LogOptions{Tail: -1, Follow: name != "web"},
			func(l workload.LogLine) error { lines = append(lines, l.Text); return nil })
		if err != nil {
			t.Fatalf("log of %s: %v", name, err)
		}
		return lines
	}
	hears := func(name, word string) {
		t.Helper()
		if got := says(name); !slices.Contains(got, "hello "+word) {
			t.Errorf("the log of %s is %q, want it to say hello %s", name, got, word)
		}
	}
	missing := func(id workload.ContainerID) {
		t.Helper()
		err := s.driver.Logs(t.Context(), id, workload.LogOptions{Tail: -1}, func(workload.LogLine) error { return nil })
		if !apperr.Is(err, apperr.NotFound) {
			t.Errorf("log of %+v: %v, want it not to be found", id, err)
		}
	}

	s.apply(s.release(1, web(greet("one")), named("db", greet("db"))))
	s.apply(s.release(2, web(greet("two"))))
	hears("web", "two")
	hears("web.release-1", "one")
	hears("db", "db")

	s.applyFails(s.release(3, web(greet("three"), args("exit", "1"))))
	s.applyFails(s.release(4, web(greet("four"), args("exit", "1"))))
	if c, there := s.containers()["web-failed-3"]; there {
		t.Errorf("%+v is there, want it to have made room for the next failure", c)
	}
	hears("web-failed-3", "three")
	hears("web-failed-4", "four")

	// Logs outlive the agent and the deployment.
	s.driver = docker.New(s.engine, options)
	if err := s.driver.Remove(t.Context(), s.prefix, s); err != nil {
		t.Fatal(err)
	}
	hears("web", "two")
	hears("web.release-1", "one")
	missing(workload.ContainerID{Prefix: s.prefix, Name: "none"})
	missing(workload.ContainerID{Prefix: s.prefix, Name: "none.release-1"})
	missing(workload.ContainerID{Prefix: s.prefix + "-web", Name: ""})
	missing(workload.ContainerID{Name: s.prefix + "-web"})
}
