package fleetsim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/specpb"
)

// engine is a node's make-believe engine, with what its agent remembers of each
// prefix. The agent's lock guards it.
type engine struct {
	foreign  int
	prefixes map[string]*Prefix
	// turn changes what is told of every foreign container.
	turn int
}

// Prefix is what a node runs under a prefix.
type Prefix struct {
	DeploymentID string
	Release      int64
	Generation   uint64
	// Phase is of the assignment of that generation.
	Phase agentv1.Phase
	// Containers are by the workloads' names.
	Containers map[string]Container
}

// Container is a container that an assignment wanted.
type Container struct {
	InstanceID string
	// Hash is of the workload it was made from.
	Hash string
	// Starts counts how often it was made: an unchanged one is made once.
	Starts int
	image  string
	made   time.Time
}

// Prefixes returns what the node runs, by prefix.
func (a *Agent) Prefixes() map[string]Prefix {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := make(map[string]Prefix, len(a.engine.prefixes))
	for name, p := range a.engine.prefixes {
		c := *p
		c.Containers = make(map[string]Container, len(p.Containers))
		for name, container := range p.Containers {
			c.Containers[name] = container
		}
		m[name] = c
	}
	return m
}

// take applies a set when it may be applied, and returns the answer.
func (a *Agent) take(set *agentv1.AssignmentSet, b *boot) *agentv1.AssignmentsAck {
	a.mu.Lock()
	defer a.mu.Unlock()
	ack := &agentv1.AssignmentsAck{Generation: set.GetGeneration(), SetHash: set.GetSetHash()}
	result, refusal, detail := resultOf(a.set, set)
	if ack.Refusal, ack.Detail = refusal, detail; result == nil {
		return ack
	}
	a.set = result
	a.engine.forget(set.GetForgotten())
	a.engine.resume(a, b)
	return ack
}

// resultOf is what an agent that holds one set holds after taking another; nil
// and why when it must not be taken.
func resultOf(held, set *agentv1.AssignmentSet) (*agentv1.AssignmentSet, agentv1.AssignmentsRefusal, string) {
	lineage := held.GetLineage() == "" || held.GetLineage() == set.GetLineage() || held.GetLineage() == set.GetReplacesLineage()
	older := held.GetLineage() == set.GetLineage() &&
		(set.GetGeneration() < held.GetGeneration() ||
			set.GetGeneration() == held.GetGeneration() && set.GetSetHash() != held.GetSetHash())
	switch {
	case set.GetLineage() == "" || !lineage:
		return nil, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE, fmt.Sprintf("the agent's is %q", held.GetLineage())
	case older:
		return nil, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE, fmt.Sprintf("the agent holds %d", held.GetGeneration())
	}
	result := set
	if set.GetBaseGeneration() > 0 {
		if set.GetBaseGeneration() != held.GetGeneration() || set.GetBaseSetHash() != held.GetSetHash() {
			return nil, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE, fmt.Sprintf("the agent holds %d", held.GetGeneration())
		}
		result = merge(held, set)
	}
	if got := specpb.SetHash(result); got != set.GetSetHash() {
		if set.GetBaseGeneration() > 0 {
			return nil, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE, "the result hashes to " + got
		}
		return nil, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH, "the set hashes to " + got
	}
	return result, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_UNSPECIFIED, ""
}

// merge returns a set with the changes of a delta.
func merge(held, delta *agentv1.AssignmentSet) *agentv1.AssignmentSet {
	gone := map[string]bool{}
	for _, prefix := range delta.GetForgotten() {
		gone[prefix] = true
	}
	for _, x := range delta.GetAssignments() {
		gone[x.GetPrefix()] = true
	}
	result := &agentv1.AssignmentSet{Lineage: delta.GetLineage(), Generation: delta.GetGeneration(), SetHash: delta.GetSetHash()}
	for _, x := range held.GetAssignments() {
		if !gone[x.GetPrefix()] {
			result.Assignments = append(result.Assignments, x)
		}
	}
	result.Assignments = append(result.Assignments, delta.GetAssignments()...)
	return result
}

// forget drops prefixes that are empty and no longer in the set.
func (e *engine) forget(prefixes []string) {
	for _, prefix := range prefixes {
		if p := e.prefixes[prefix]; p != nil && len(p.Containers) == 0 {
			delete(e.prefixes, prefix)
		}
	}
}

// resume begins what the set wants and the engine has not finished.
func (e *engine) resume(a *Agent, b *boot) {
	for _, x := range a.set.GetAssignments() {
		p := e.prefixes[x.GetPrefix()]
		if p == nil {
			p = &Prefix{Containers: map[string]Container{}}
			e.prefixes[x.GetPrefix()] = p
		}
		if p.Generation == x.GetGeneration() && p.Phase != agentv1.Phase_PHASE_IN_PROGRESS {
			continue
		}
		p.Generation, p.Phase = x.GetGeneration(), agentv1.Phase_PHASE_IN_PROGRESS
		latency := time.Duration(a.fleet.latency.Load())
		took := time.Duration(a.random.Float64() * float64(latency))
		fails := a.random.Float64() < a.fleet.config.Engine.Failing
		if latency == 0 {
			e.finish(p, x, fails, b)
			continue
		}
		b.outbox.status(statusOf(x, agentv1.Phase_PHASE_IN_PROGRESS))
		time.AfterFunc(took, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			// A newer assignment, or the next boot, has taken over otherwise.
			if a.boot == b && p.Generation == x.GetGeneration() && p.Phase == agentv1.Phase_PHASE_IN_PROGRESS {
				select {
				case <-b.done:
				default:
					e.finish(p, x, fails, b)
				}
			}
		})
	}
}

// retell tells how every finished assignment ended: the controller may not have
// it from the boot before.
func (e *engine) retell(a *Agent, b *boot) {
	for _, x := range a.set.GetAssignments() {
		p := e.prefixes[x.GetPrefix()]
		if p != nil && p.Generation == x.GetGeneration() && p.Phase != agentv1.Phase_PHASE_IN_PROGRESS {
			b.outbox.status(statusOf(x, p.Phase))
		}
	}
}

// finish makes a prefix what its assignment wants and tells of it.
func (e *engine) finish(p *Prefix, x *agentv1.Assignment, fails bool, b *boot) {
	d := x.GetDeployment()
	switch {
	case d == nil:
		p.Phase, p.DeploymentID, p.Release = agentv1.Phase_PHASE_REMOVED, x.GetTombstone().GetDeploymentId(), 0
		clear(p.Containers)
	case fails:
		p.Phase = agentv1.Phase_PHASE_FAILED
	default:
		p.Phase, p.DeploymentID, p.Release = agentv1.Phase_PHASE_SUCCESSFUL, d.GetId(), d.GetRelease()
		now := map[string]Container{}
		for _, w := range d.GetWorkloads() {
			name := w.GetContainer().GetName()
			c := p.Containers[name]
			if c.Hash != w.GetHash() || c.Hash == "" {
				c = Container{InstanceID: w.GetInstanceId(), Hash: w.GetHash(), Starts: c.Starts + 1, image: w.GetImage().GetReference(), made: time.Now()}
			}
			now[name] = c
		}
		p.Containers = now
	}
	s := statusOf(x, p.Phase)
	if p.Phase == agentv1.Phase_PHASE_FAILED {
		s.Failure = &agentv1.Failure{Step: "start", Message: "the make-believe engine was told to fail", Kind: "internal", RolledBack: true}
	}
	b.outbox.status(s)
}

func statusOf(x *agentv1.Assignment, phase agentv1.Phase) *agentv1.DeploymentStatus {
	s := &agentv1.DeploymentStatus{Generation: x.GetGeneration(), Phase: phase, DeploymentId: x.GetTombstone().GetDeploymentId()}
	if d := x.GetDeployment(); d != nil {
		s.DeploymentId, s.Release = d.GetId(), d.GetRelease()
	}
	return s
}

// SetForeign changes how many containers the node runs that nobody assigned, and
// tells of them.
func (a *Agent) SetForeign(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.engine.foreign = n
	if a.boot != nil {
		a.boot.outbox.list()
	}
}

// Report tells the containers again; with change, every container that nobody
// assigned has become another since.
func (a *Agent) Report(change bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if change {
		a.engine.turn++
	}
	if a.boot != nil {
		a.boot.outbox.list()
	}
}

// containers is the list as the agent tells it.
func (a *Agent) containers() []*agentv1.Container {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*agentv1.Container
	for prefix, p := range a.engine.prefixes {
		for name, c := range p.Containers {
			list = append(list, &agentv1.Container{
				Prefix: prefix, Name: name, EngineId: fmt.Sprintf("%s-%s-%d", prefix, name, c.Starts), Managed: true,
				DeploymentId: p.DeploymentID, InstanceId: c.InstanceID, Release: p.Release, SpecHash: c.Hash,
				ImageName: c.image, CreatedAt: timestamppb.New(c.made), State: "running", Reason: "running",
			})
		}
	}
	for i := range a.engine.foreign {
		list = append(list, &agentv1.Container{
			Name: fmt.Sprintf("service-%d", i), EngineId: fmt.Sprintf("%064x", i), ImageName: "registry.example.org/shop/service",
			ImageTag: "1.2.3", ImageDigest: "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
			Command: "/bin/service --listen :8080", CreatedAt: timestamppb.New(time.Unix(1700000000, 0)), State: "running",
			Reason: fmt.Sprintf("up, turn %d", a.engine.turn), Ports: []*agentv1.ContainerPort{{Internal: 8080, External: int32(20000 + i), Protocol: "tcp"}},
		})
	}
	return list
}

// command carries a command out, unless it was, and tells the result.
func (a *Agent) command(c *agentv1.Command, b *boot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fleet.counters.commands.Add(1)
	if a.effects[c.GetId()] == 0 {
		r := &agentv1.CommandResult{Id: c.GetId()}
		switch {
		case c.GetDeadline().AsTime().Before(time.Now()):
			r.Error, r.ErrorKind = "the deadline has passed", "expired"
		case c.GetReadLogs() != nil:
			r.Lines = []*agentv1.LogLine{{Time: timestamppb.Now(), Stream: "stdout", Text: "a line"}}
		case c.GetInspect() != nil:
			r.Inspection = []byte(`{}`)
		}
		a.effects[c.GetId()]++
		a.held[c.GetId()] = r
	}
	b.outbox.mu.Lock()
	delete(b.outbox.told, c.GetId()) // it was asked for again
	b.outbox.mu.Unlock()
	b.outbox.wake()
}
