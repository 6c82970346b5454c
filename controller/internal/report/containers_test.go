package report_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// everything is a container with something in each field that is stored.
func everything() workload.Container {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)
	return workload.Container{
		ID: workload.ContainerID{Prefix: "shop", Name: `we"b, \(1) ü`}, EngineID: "e-1", Managed: true,
		DeploymentID: uuid.NewString(), InstanceID: uuid.NewString(), Release: 1 << 40,
		ImageName: "registry.example.org/web", ImageTag: "1", ImageDigest: "sha256:0", Command: "sleep\n1",
		CreatedAt: at, State: spec.StateExited, Reason: "OOMKilled", ExitCode: -1, Health: "unhealthy",
		Ports:    []workload.Port{{Internal: 80, External: 8080, Protocol: `t"cp`}, {Internal: 53, Protocol: "udp"}},
		Leftover: true, OOMKilled: true, RestartCount: 7, StartedAt: at.Add(time.Second), FinishedAt: at.Add(-time.Hour),
	}
}

func TestContainersComeBackAsTheyWereStored(t *testing.T) {
	w := newWorld(t)
	s := w.fleet(1)[0]
	bare := workload.Container{EngineID: "e-0", State: spec.StateWaiting, CreatedAt: time.Unix(0, 0).UTC(), Ports: []workload.Port{}}
	long := bare
	long.EngineID, long.Command = "e-2", strings.Repeat("x", 2000)
	want := []workload.Container{bare, everything(), long}
	put := func(list []workload.Container) {
		t.Helper()
		if err := w.store.PutContainers(t.Context(), []report.NodeContainers{{NodeID: s.NodeID, Changed: list}}); err != nil {
			t.Fatal(err)
		}
	}
	stored := func() []workload.Container {
		t.Helper()
		list, err := w.store.ListContainers(t.Context(), s.NodeID, nil)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(list, func(a, b workload.Container) int { return strings.Compare(a.EngineID, b.EngineID) })
		return list
	}
	put(want)
	if got := stored(); !reflect.DeepEqual(got, want) {
		t.Errorf("stored\n%+v\nwant\n%+v", got, want)
	}

	// What is so already is left alone, unless somebody knows that it is not.
	versions := func() string {
		return value[string](w, "select string_agg(xmin::text, ' ' order by engine_id) from containers")
	}
	was := versions()
	put(want)
	if now := versions(); now != was {
		t.Errorf("rows that are as they were are now %s, were %s", now, was)
	}

	// A database that is put back in place makes the type anew.
	w.exec(`alter type reported_container rename to gone`)
	w.exec(`do $$ begin execute (select 'create type reported_container as (' || string_agg(attname || ' ' || atttypid::regtype, ', ' order by attnum) || ')'
		from pg_attribute where attrelid = 'gone'::regclass and attnum > 0); end $$`)
	w.exec(`drop type gone`)
	want[0].State = spec.StateRunning
	put(want[:1])
	if got := stored(); !reflect.DeepEqual(got, want) {
		t.Errorf("with the type made anew, stored\n%+v\nwant\n%+v", got, want)
	}
}

func TestMoreContainersThanOneStatementTakesAreStored(t *testing.T) {
	w := newWorld(t)
	s := w.fleet(1)[0]
	list := make([]workload.Container, 5001)
	for i := range list {
		list[i] = container(fmt.Sprint("name-", i))
		list[i].EngineID = fmt.Sprint(i)
	}
	if err := w.store.PutContainers(t.Context(), []report.NodeContainers{{NodeID: s.NodeID, Changed: list}}); err != nil {
		t.Fatal(err)
	}
	found, err := w.store.ListContainers(t.Context(), s.NodeID, nil)
	if err != nil || len(found) != len(list) {
		t.Errorf("%d containers are stored, want %d (%v)", len(found), len(list), err)
	}
}
