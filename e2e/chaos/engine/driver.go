package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Driver is a workload.Driver over an Engine's socket. It works as a driver of
// a real engine does: the new container is made beside the old one, and takes
// its name once it is healthy. It keeps nothing in memory.
type Driver struct {
	socket string
}

var _ workload.Driver = (*Driver)(nil)

// NewDriver returns a driver for the engine at the socket.
func NewDriver(socket string) *Driver { return &Driver{socket: socket} }

// Variables of a workload's environment. OutcomeKey says how its container
// fares: OutcomeFail makes it unhealthy. ValueKey is shown in its labels.
const (
	OutcomeKey  = "CHAOS_OUTCOME"
	OutcomeFail = "fail"
	ValueKey    = "CHAOS_VALUE"
)

// next marks the name of a container that has not taken its place yet.
const next = "-next"

func (d *Driver) ask(ctx context.Context, r request) (a answer, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	if err != nil {
		return a, apperr.Wrap(apperr.Unavailable, err, "reach the engine")
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err = json.NewEncoder(conn).Encode(r); err == nil {
		err = json.NewDecoder(conn).Decode(&a)
	}
	if ctx.Err() != nil {
		return a, ctx.Err()
	}
	if err != nil {
		return a, apperr.Wrap(apperr.Unavailable, err, "ask the engine")
	}
	if a.Err == "" {
		return a, nil
	}
	switch word, _, _ := strings.Cut(a.Err, ":"); word {
	case wordAway:
		return a, apperr.New(apperr.Unavailable, "%s", a.Err)
	case wordNotFound:
		return a, apperr.New(apperr.NotFound, "%s", a.Err)
	case wordConflict:
		return a, apperr.New(apperr.Conflict, "%s", a.Err)
	default:
		return a, apperr.New(apperr.Internal, "%s", a.Err)
	}
}

func (d *Driver) act(ctx context.Context, act, id string) error {
	_, err := d.ask(ctx, request{Act: act, ID: id})
	return err
}

// Info describes the engine.
func (d *Driver) Info(ctx context.Context) (workload.EngineInfo, error) {
	if _, err := d.ask(ctx, request{Act: actList}); err != nil {
		return workload.EngineInfo{}, err
	}
	return workload.EngineInfo{ID: d.socket, Name: "chaos", Version: "1", OS: "linux", Architecture: "amd64"}, nil
}

// Check honours everything.
func (d *Driver) Check(spec.Deployment) error { return nil }

// List returns every container.
func (d *Driver) List(ctx context.Context) ([]workload.Container, error) {
	a, err := d.ask(ctx, request{Act: actList})
	if err != nil {
		return nil, err
	}
	list := make([]workload.Container, 0, len(a.Containers))
	for _, c := range a.Containers {
		one := workload.Container{
			ID: workload.ContainerID{Prefix: c.Labels.Prefix, Name: c.Labels.Name}, EngineID: c.ID, Managed: true,
			DeploymentID: c.Labels.DeploymentID, InstanceID: c.Labels.InstanceID, Release: c.Labels.Release, SpecHash: c.Labels.Hash,
			ImageName: c.Labels.Image, CreatedAt: c.CreatedAt, State: spec.StateExited, Reason: "exited", ExitCode: c.ExitCode,
			RestartCount: c.Restarts, StartedAt: c.StartedAt, FinishedAt: c.FinishedAt,
		}
		switch {
		case c.Running:
			one.State, one.Reason, one.ExitCode = spec.StateRunning, "running", 0
		case c.StartedAt.IsZero():
			one.State, one.Reason = spec.StateWaiting, "created"
		}
		list = append(list, one)
	}
	return list, nil
}

// Watch calls changed after every change.
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	for seen := -1; ; {
		a, err := d.ask(ctx, request{Act: actWait, Since: seen})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // a watch ends well when its context ends
		}
		if err != nil {
			return err
		}
		if a.Version != seen {
			seen = a.Version
			changed()
		}
	}
}

// Apply makes the node run the deployment.
func (d *Driver) Apply(ctx context.Context, wanted spec.Deployment, report workload.Reporter) error {
	names := map[string]bool{}
	for _, w := range wanted.Workloads {
		name := spec.ContainerName(wanted.Prefix, *w.Container.Name)
		names[name] = true
		if err := d.bring(ctx, wanted, w, name, report); err != nil {
			return err
		}
	}
	return d.sweep(ctx, wanted.Prefix, names)
}

// bring makes one workload's container the one of the name.
func (d *Driver) bring(ctx context.Context, wanted spec.Deployment, w spec.Workload, name string, report workload.Reporter) error {
	failed := func(step workload.Step, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &workload.Failure{Step: step, InstanceID: w.InstanceID, Container: name, RolledBack: true, Err: err}
	}
	a, err := d.ask(ctx, request{Act: actList})
	if err != nil {
		return failed(workload.StepPull, err)
	}
	current, beside := find(a.Containers, name), find(a.Containers, name+next)
	if current != nil && current.Labels.Hash == w.Hash {
		return d.act(ctx, Start, current.ID)
	}
	if beside != nil && beside.Labels.Hash != w.Hash {
		if err := d.act(ctx, Remove, beside.ID); err != nil {
			return failed(workload.StepRetire, err)
		}
		beside = nil
	}
	var id string
	if beside != nil {
		id = beside.ID
	} else {
		a, err := d.ask(ctx, request{Act: Create, Name: name + next, Labels: Labels{
			Prefix: wanted.Prefix, Name: *w.Container.Name + next, DeploymentID: wanted.ID, InstanceID: w.InstanceID,
			Release: wanted.Release, Hash: w.Hash, Image: w.Image.Reference, Value: variable(w, ValueKey),
		}})
		if err != nil {
			return failed(workload.StepCreate, err)
		}
		id = a.ID
	}
	if err := d.act(ctx, Start, id); err != nil {
		return failed(workload.StepStart, err)
	}
	report.Report(workload.Event{Time: time.Now(), Level: workload.LevelInfo, InstanceID: w.InstanceID, Lines: []string{"started " + id}, State: spec.StateRunning})
	if variable(w, OutcomeKey) == OutcomeFail {
		if err := d.act(ctx, Remove, id); err != nil {
			return failed(workload.StepRetire, err)
		}
		return failed(workload.StepHealth, apperr.New(apperr.Precondition, "it is unhealthy, as it was told to be"))
	}
	if current != nil {
		if err := errors.Join(d.act(ctx, Stop, current.ID), d.act(ctx, Remove, current.ID)); err != nil {
			return failed(workload.StepRetire, err)
		}
	}
	if _, err := d.ask(ctx, request{Act: Rename, ID: id, Name: name}); err != nil {
		return failed(workload.StepRetire, err)
	}
	return nil
}

func variable(w spec.Workload, key string) string {
	for _, kv := range w.Container.Environment {
		if kv.Key == key {
			return kv.Value
		}
	}
	return ""
}

func find(list []Container, name string) *Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// sweep removes the containers of a prefix but those to keep.
func (d *Driver) sweep(ctx context.Context, prefix string, keep map[string]bool) error {
	a, err := d.ask(ctx, request{Act: actList})
	if err != nil {
		return err
	}
	for _, c := range a.Containers {
		if c.Labels.Prefix != prefix || keep[c.Name] {
			continue
		}
		if err := d.act(ctx, Remove, c.ID); err != nil && !apperr.Is(err, apperr.NotFound) {
			return err
		}
	}
	return nil
}

// Remove empties a prefix.
func (d *Driver) Remove(ctx context.Context, prefix string, _ workload.Reporter) error {
	return d.sweep(ctx, prefix, nil)
}

func (d *Driver) one(ctx context.Context, act string, id workload.ContainerID) error {
	c, err := d.get(ctx, id)
	if err != nil {
		return err
	}
	return d.act(ctx, act, c.ID)
}

func (d *Driver) get(ctx context.Context, id workload.ContainerID) (Container, error) {
	a, err := d.ask(ctx, request{Act: actList})
	if err != nil {
		return Container{}, err
	}
	if c := find(a.Containers, spec.ContainerName(id.Prefix, id.Name)); c != nil {
		return *c, nil
	}
	return Container{}, apperr.New(apperr.NotFound, "there is no container %s", spec.ContainerName(id.Prefix, id.Name))
}

// Start starts a container.
func (d *Driver) Start(ctx context.Context, id workload.ContainerID) error {
	return d.one(ctx, Start, id)
}

// Stop stops a container.
func (d *Driver) Stop(ctx context.Context, id workload.ContainerID) error {
	return d.one(ctx, Stop, id)
}

// Restart restarts a container.
func (d *Driver) Restart(ctx context.Context, id workload.ContainerID) error {
	return d.one(ctx, Restart, id)
}

// Delete removes a container.
func (d *Driver) Delete(ctx context.Context, id workload.ContainerID) error {
	return d.one(ctx, Remove, id)
}

// Logs has one line.
func (d *Driver) Logs(ctx context.Context, id workload.ContainerID, _ workload.LogOptions, line func(workload.LogLine) error) error {
	c, err := d.get(ctx, id)
	if err != nil {
		return err
	}
	return line(workload.LogLine{Time: c.StartedAt, Stream: workload.StreamStdout, Text: "this is " + c.ID})
}

// Inspect returns the container as JSON.
func (d *Driver) Inspect(ctx context.Context, id workload.ContainerID) ([]byte, error) {
	c, err := d.get(ctx, id)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", c.ID, err)
	}
	return content, nil
}

// Exec runs nothing.
func (d *Driver) Exec(context.Context, workload.ContainerID, workload.ExecOptions, workload.ExecStreams) (int, error) {
	return 0, apperr.New(apperr.Unsupported, "this engine runs no commands")
}
