package deployment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// connected is the one liveness word that means a node can be reached.
const connected = "connected"

// List returns the team's deployments, newest first.
func (s *Service) List(ctx context.Context) ([]Deployment, error) {
	team, _, err := authz.Require(ctx, authz.DeploymentRead)
	if err != nil {
		return nil, err
	}
	return s.Store.ListDeployments(ctx, team.ID)
}

// Get returns a deployment with its instances. Errors: NotFound.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Detail, error) {
	team, _, err := authz.RequireOn(ctx, authz.DeploymentRead, id)
	if err != nil {
		return Detail{}, err
	}
	d, err := s.Store.ReadDeployment(ctx, team.ID, id)
	if apperr.Is(err, apperr.NotFound) {
		return Detail{}, noSuchDeployment(id)
	}
	if err != nil {
		return Detail{}, err
	}
	d.Waiting, err = s.waiting(ctx, d.Deployment)
	return d, err
}

// GetInstance returns an instance of a deployment. Errors: NotFound.
func (s *Service) GetInstance(ctx context.Context, deploymentID, id uuid.UUID) (Instance, error) {
	if _, err := s.find(ctx, authz.DeploymentRead, deploymentID); err != nil {
		return Instance{}, err
	}
	return s.findInstance(ctx, deploymentID, id)
}

func (s *Service) findInstance(ctx context.Context, deploymentID, id uuid.UUID) (Instance, error) {
	i, err := s.Store.FindInstance(ctx, deploymentID, id)
	if apperr.Is(err, apperr.NotFound) {
		return Instance{}, apperr.New(apperr.NotFound, "no such instance in this deployment").WithField("instanceId", id)
	}
	return i, err
}

// waiting tells why nothing is heard of a release that was accepted.
func (s *Service) waiting(ctx context.Context, d Deployment) (string, error) {
	if d.State != InProgress {
		return "", nil
	}
	known, err := s.Liveness(ctx, []uuid.UUID{d.Node.ID})
	if err != nil {
		return "", err
	}
	live := known[d.Node.ID]
	switch {
	case live.Status == connected:
		return "", nil
	case live.Since.IsZero():
		return fmt.Sprintf("the node has no agent yet; release %d will be delivered when one is installed and connects", d.Tries), nil
	default:
		return fmt.Sprintf("the node is unreachable since %s; release %d will be delivered, or its outcome known, when it returns",
			live.Since.UTC().Format(time.RFC3339), d.Tries), nil
	}
}
