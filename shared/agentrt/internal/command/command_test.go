package command_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/command"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// fake remembers the acts it was asked for.
type fake struct {
	mu    sync.Mutex
	acts  []string
	err   error
	block bool
	lines []workload.LogLine
	// containers are what List returns, inspection what Inspect does.
	containers []workload.Container
	inspection []byte
}

func (f *fake) List(context.Context) ([]workload.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.containers, nil
}

func (f *fake) Inspect(ctx context.Context, id workload.ContainerID) ([]byte, error) {
	return f.inspection, f.act(ctx, "inspect", id)
}

func (f *fake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.acts)
}

func (f *fake) act(ctx context.Context, what string, id workload.ContainerID) error {
	f.mu.Lock()
	f.acts = append(f.acts, fmt.Sprintf("%s %s/%s", what, id.Prefix, id.Name))
	f.mu.Unlock()
	if f.block {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func (f *fake) Plan(ctx context.Context, d spec.Deployment) (workload.Plan, error) {
	return workload.Plan{Workloads: []workload.PlannedWorkload{{Name: d.Workloads[0].Name(), Action: workload.ActionCreate, ReplicasThen: 1}}},
		f.act(ctx, "plan", workload.ContainerID{Prefix: d.Prefix})
}

func (f *fake) Start(ctx context.Context, id workload.ContainerID) error {
	return f.act(ctx, "start", id)
}

func (f *fake) Stop(ctx context.Context, id workload.ContainerID) error {
	return f.act(ctx, "stop", id)
}

func (f *fake) Restart(ctx context.Context, id workload.ContainerID) error {
	return f.act(ctx, "restart", id)
}

func (f *fake) Delete(ctx context.Context, id workload.ContainerID) error {
	return f.act(ctx, "delete", id)
}

func (f *fake) Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error {
	if err := f.act(ctx, fmt.Sprintf("logs %d", opts.Tail), id); err != nil {
		return err
	}
	for _, l := range f.lines {
		if err := line(l); err != nil {
			return err
		}
	}
	return nil
}

func act(id string, op agentv1.ContainerOperation) *agentv1.Command { return actOn(id, op, "web") }

func actOn(id string, op agentv1.ContainerOperation, name string) *agentv1.Command {
	return &agentv1.Command{Id: id, Act: &agentv1.Command_Container{
		Container: &agentv1.ContainerAct{Operation: op, Prefix: "shop", Name: name},
	}}
}

const (
	stop    = agentv1.ContainerOperation_CONTAINER_OPERATION_STOP
	restart = agentv1.ContainerOperation_CONTAINER_OPERATION_RESTART
)

// open returns the executor of an agent whose journal is the file.
func open(t *testing.T, driver *fake, path string) *command.Executor {
	t.Helper()
	return openWith(t, driver, path, func(*command.Config) {})
}

// openWith opens an executor that is configured otherwise.
func openWith(t *testing.T, driver *fake, path string, change func(*command.Config)) *command.Executor {
	t.Helper()
	config := command.Config{
		Driver: driver, Path: path, Agent: "agent", Generation: func() uint64 { return 7 },
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	change(&config)
	e, err := command.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// run runs an executor; the function returned stops it.
func run(t *testing.T, e *command.Executor) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// inBubble runs the test with a running executor and virtual time.
func inBubble(t *testing.T, driver *fake, test func(t *testing.T, e *command.Executor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := open(t, driver, filepath.Join(t.TempDir(), "commands"))
		e.Opened(true)
		end := run(t, e)
		test(t, e)
		end()
	})
}

func TestActs(t *testing.T) {
	for op, want := range map[agentv1.ContainerOperation]string{
		agentv1.ContainerOperation_CONTAINER_OPERATION_START:   "start shop/web",
		agentv1.ContainerOperation_CONTAINER_OPERATION_STOP:    "stop shop/web",
		agentv1.ContainerOperation_CONTAINER_OPERATION_RESTART: "restart shop/web",
		agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE:  "delete shop/web",
	} {
		driver := &fake{}
		inBubble(t, driver, func(t *testing.T, e *command.Executor) {
			e.Submit(act("c1", op))
			synctest.Wait()
			if !slices.Equal(driver.acts, []string{want}) {
				t.Errorf("%s: acts %q", op, driver.acts)
			}
			if r := e.Take(); len(r) != 1 || r[0].GetId() != "c1" || r[0].GetError() != "" {
				t.Errorf("%s: results %v", op, r)
			}
		})
	}
}

func TestACommandIsCarriedOutOnceHoweverOftenItComes(t *testing.T) {
	driver := &fake{err: apperr.New(apperr.NotFound, "no such container")}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		c := act("c1", stop)
		e.Submit(c)
		e.Submit(c) // while it runs
		synctest.Wait()
		first := e.Take()
		e.Submit(c) // after it ended
		again := e.Take()
		if len(driver.acts) != 1 {
			t.Fatalf("acts %q", driver.acts)
		}
		if len(first) != 1 || len(again) != 1 || again[0].GetErrorKind() != "not-found" {
			t.Fatalf("results %v, then %v", first, again)
		}
	})
}

func TestAnExpiredCommandIsNotBegun(t *testing.T) {
	driver := &fake{}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		c := act("c1", stop)
		c.Deadline = timestamppb.New(time.Now())
		e.Submit(c)
		synctest.Wait()
		if r := e.Take(); len(driver.acts) != 0 || len(r) != 1 || r[0].GetErrorKind() != "precondition" || !strings.Contains(r[0].GetError(), "expired") {
			t.Fatalf("acts %q, results %v", driver.acts, r)
		}
	})
}

func TestUnknownCommandsAreRefused(t *testing.T) {
	inBubble(t, &fake{}, func(t *testing.T, e *command.Executor) {
		e.Submit(&agentv1.Command{Id: "c1"})
		e.Submit(act("c2", 99))
		synctest.Wait()
		for _, r := range e.Take() {
			if r.GetErrorKind() != "unsupported" {
				t.Errorf("result %v", r)
			}
		}
	})
}

func TestTooManyCommandsAreRefusedAndAnActIsBoundedInTime(t *testing.T) {
	driver := &fake{block: true}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		const n = 100
		for i := range n {
			e.Submit(actOn(fmt.Sprint(i), stop, fmt.Sprint(i)))
		}
		synctest.Wait()
		refused := 0
		for _, r := range e.Take() {
			if r.GetErrorKind() == "too-many" {
				refused++
			}
		}
		if refused == 0 {
			t.Fatal("none was refused")
		}
		time.Sleep(time.Hour) // of the bubble: no real time passes
		synctest.Wait()
		if got := refused + len(e.Take()); got != n {
			t.Fatalf("%d of %d commands were answered", got, n)
		}
	})
}

func TestReadLogsIsBoundedAndKeepsTheEnd(t *testing.T) {
	read := func(id string, tail int32) *agentv1.Command {
		return &agentv1.Command{Id: id, Act: &agentv1.Command_ReadLogs{ReadLogs: &agentv1.ReadLogs{Prefix: "shop", Name: "web", Tail: tail}}}
	}
	driver := &fake{}
	for i := range 400 {
		driver.lines = append(driver.lines, workload.LogLine{Stream: "stdout", Text: fmt.Sprintf("%4d %s", i, strings.Repeat("x", 1<<10))})
	}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		e.Submit(read("c1", 5000))
		synctest.Wait()
		lines := e.Take()[0].GetLines()
		size := 0
		for _, l := range lines {
			size += len(l.GetText())
		}
		if size > command.MaxLogBytes || !strings.HasPrefix(lines[len(lines)-1].GetText(), " 399") {
			t.Fatalf("%d bytes, the last line %.8q", size, lines[len(lines)-1].GetText())
		}
		e.Submit(read("c1", 5)) // a log is read again when it is asked for again
		synctest.Wait()
		if got := e.Take()[0].GetLines(); len(got) != 5 {
			t.Fatalf("%d lines", len(got))
		}
		if want := []string{"logs 1000 shop/web", "logs 5 shop/web"}; !slices.Equal(driver.acts, want) {
			t.Fatalf("acts %q", driver.acts)
		}
	})
}

func planOf(id, name string) *agentv1.Command {
	d := spec.Normalize(spec.Deployment{ID: "d", Prefix: "shop", Workloads: []spec.Workload{{
		InstanceID: "i", Image: spec.Image{Reference: "web:1"}, Container: spec.Container{Name: &name},
	}}})
	return &agentv1.Command{Id: id, Act: &agentv1.Command_Plan{Plan: &agentv1.PlanDeployment{Deployment: specpb.DeploymentToProto(d)}}}
}

func TestAPlanTellsWhatADeploymentWouldDo(t *testing.T) {
	driver := &fake{}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		e.Submit(planOf("c1", "web"))
		synctest.Wait()
		r := e.Take()
		if len(r) != 1 || r[0].GetError() != "" || !slices.Equal(driver.acts, []string{"plan shop/"}) {
			t.Fatalf("acts %q, results %v", driver.acts, r)
		}
		plan, hash, err := specpb.PlanFromProto(r[0].GetPlan())
		if err != nil || len(plan.Workloads) != 1 || plan.Workloads[0].Name != "web" || hash != plan.Hash() {
			t.Fatalf("got %+v, %s, %v", plan, hash, err)
		}
	})
}

func TestAPlanOfWhatCannotBeIsRefused(t *testing.T) {
	driver := &fake{}
	inBubble(t, driver, func(t *testing.T, e *command.Executor) {
		e.Submit(planOf("c1", "No Name"))
		e.Submit(&agentv1.Command{Id: "c2", Act: &agentv1.Command_Plan{Plan: &agentv1.PlanDeployment{}}})
		synctest.Wait()
		r := e.Take()
		if len(r) != 2 || r[0].GetErrorKind() != "invalid" || r[1].GetErrorKind() != "invalid" || len(driver.acts) != 0 {
			t.Fatalf("acts %q, results %v", driver.acts, r)
		}
	})
}
