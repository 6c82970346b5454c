package deployment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// ReasonStalePlan is the reason of an error about a plan that is not true any
// more.
const ReasonStalePlan = "stale-plan"

// capabilityAdopt is of agents that take over containers which run already.
const capabilityAdopt = "adopt"

// capabilityPlan is of agents that apply a release by an expected plan only.
const capabilityPlan = "plan"

// Plan is what a start would do, by what its node said at one moment.
type Plan struct {
	// Hash names the plan to who starts by it.
	Hash string
	// ContentHash is of what was to be started.
	ContentHash string
	command.Planned
	CreatedAt time.Time
	CreatedBy string
}

// Planner asks a node what applying a deployment would do to it now.
type Planner func(ctx context.Context, nodeID uuid.UUID, d spec.Deployment, by string) (command.Planned, error)

// MakePlan tells what a start would do now, with the same instances and
// adoptions: nothing is changed. The node must be there to answer. Errors: those
// of StartWith that the deployment's configuration gives reason for;
// Precondition when the node can't be reached, telling since when; Unsupported
// when its agent is too old or the configuration is beyond it; Conflict when
// something that is not ours stands in the way on the node; Unavailable when it
// does not answer.
func (s *Service) MakePlan(ctx context.Context, id uuid.UUID, instances []uuid.UUID, adopt []Adoption) (Plan, error) {
	var d Deployment
	var content spec.Deployment
	_, who, err := authz.RequireOn(ctx, authz.DeploymentPlan, id)
	if err != nil {
		return Plan{}, err
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if d, err = s.find(ctx, authz.DeploymentPlan, id); err != nil {
			return err
		}
		if !d.Startable() {
			return wrongState(d, "started")
		}
		now, err := s.assigned(ctx, d)
		if err != nil {
			return err
		}
		if content, err = s.render(ctx, d, now, instances); err != nil {
			return err
		}
		if err := s.adopt(ctx, who, d, &content, adopt); err != nil {
			return err
		}
		return s.checkHooks(ctx, d, content)
	})
	if err != nil {
		return Plan{}, err
	}
	if err := s.reachable(ctx, d.Node.ID); err != nil {
		return Plan{}, err
	}
	content.Release = d.Tries + 1
	told, err := s.Planner(ctx, d.Node.ID, content, who.Ref())
	if err != nil {
		return Plan{}, err
	}
	p := Plan{ContentHash: contentHash(content), Planned: told, CreatedAt: s.Now(), CreatedBy: who.Ref()}
	sum := sha256.Sum256([]byte(p.Planned.Hash + p.ContentHash))
	p.Hash = hex.EncodeToString(sum[:])
	return p, s.Store.KeepPlan(ctx, id, p)
}

// reachable returns a Precondition error unless the node's agent is connected.
func (s *Service) reachable(ctx context.Context, nodeID uuid.UUID) error {
	known, err := s.Liveness(ctx, []uuid.UUID{nodeID})
	if err != nil {
		return err
	}
	switch live := known[nodeID]; {
	case live.Status == connected:
		return nil
	case live.Since.IsZero():
		return apperr.New(apperr.Precondition, "the node has no agent yet that could plan").WithField("nodeId", nodeID)
	default:
		return apperr.New(apperr.Precondition, "the node is unreachable since %s, and only it can tell what a start would do",
			live.Since.UTC().Format(time.RFC3339)).WithField("nodeId", nodeID)
	}
}

// byPlan returns the plan that a start goes by when it is still one for this
// content. Whether it is still one for the node is for the node to say when it
// begins.
func (s *Service) byPlan(ctx context.Context, d Deployment, content spec.Deployment, hash string) (*Plan, error) {
	p, err := s.Store.FindPlan(ctx, d.ID, hash)
	switch {
	case apperr.Is(err, apperr.NotFound):
		return nil, stalePlan("the deployment has no such plan any more; make a new one", hash)
	case err != nil:
		return nil, err
	case p.ContentHash != contentHash(content):
		return nil, stalePlan("the configuration has changed since the plan was made; make a new one", hash)
	}
	can, err := s.Store.NodeCapabilities(ctx, d.Node.ID)
	if err != nil && !apperr.Is(err, apperr.NotFound) {
		return nil, err
	}
	if !slices.Contains(can, capabilityPlan) {
		return nil, apperr.New(apperr.Unsupported, "the node's agent is too old to go by a plan; update it").WithField("plan", hash)
	}
	return &p, nil
}

func stalePlan(text, hash string) error {
	return apperr.New(apperr.Precondition, "%s", text).WithField("plan", hash).WithReason(ReasonStalePlan)
}

// contentHash is of everything that makes a difference on a node.
func contentHash(content spec.Deployment) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %+v\n", content.Prefix, content.Policy)
	for _, a := range content.Adopt {
		fmt.Fprintf(h, "adopt %q %q\n", a.InstanceID, a.Container)
	}
	for _, w := range content.Workloads {
		fmt.Fprintf(h, "%s %s %d\n", w.InstanceID, spec.Hash(w), replicas(w))
	}
	return hex.EncodeToString(h.Sum(nil))
}
