package deployment

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Secrets says what is needed to enter an instance's secrets, and which of them
// have a value.
type Secrets struct {
	// Prefix and Name are the container's.
	Prefix string
	Name   string
	// PublicKey is what values are sealed to; "" while the node's agent has
	// not told.
	PublicKey string
	// Keys are those of the secrets that have a value the node can open.
	Keys []string
}

// InstanceSecrets returns what is known of an instance's secrets. Errors:
// NotFound.
func (s *Service) InstanceSecrets(ctx context.Context, deploymentID, id uuid.UUID) (Secrets, error) {
	d, err := s.find(ctx, authz.DeploymentRead, deploymentID)
	if err != nil {
		return Secrets{}, err
	}
	i, err := s.findInstance(ctx, deploymentID, id)
	if err != nil {
		return Secrets{}, err
	}
	key, err := s.Store.NodeSealingKey(ctx, d.Node.ID)
	if err != nil {
		return Secrets{}, err
	}
	c := i.configuration(nil)
	found := Secrets{Prefix: d.Prefix, PublicKey: key}
	if c.Name != nil {
		found.Name = *c.Name
	}
	for _, secret := range c.Secrets {
		if opensWith(secret, key) {
			found.Keys = append(found.Keys, secret.Key)
		}
	}
	return found, nil
}

// opensWith reports whether a secret has a value that the holder of the key can
// open.
func opensWith(secret spec.Secret, key string) bool {
	return secret.Value != "" && secret.Encrypted && secret.PublicKey == key && key != ""
}

// seal makes every value of an instance's secrets one that only the node can
// read: what comes in the clear is sealed here and forgotten, what comes sealed
// must be sealed to the node's key. Values that are stored already stay as they
// are, also those of an earlier key: a start will name them.
func (s *Service) seal(ctx context.Context, nodeID uuid.UUID, stored, next []spec.Secret) ([]spec.Secret, error) {
	if next == nil {
		return nil, nil
	}
	key, err := s.Store.NodeSealingKey(ctx, nodeID)
	if err != nil {
		return nil, err
	}
	list := make([]spec.Secret, len(next))
	for i, secret := range next {
		field := fmt.Sprintf("config.secrets[%d]", i)
		switch {
		case secret.Value == "":
			secret.Encrypted, secret.PublicKey = false, ""
		case secret.Encrypted && slices.ContainsFunc(stored, func(o spec.Secret) bool {
			return o.Key == secret.Key && o.Value == secret.Value && o.PublicKey == secret.PublicKey
		}):
		case key == "":
			return nil, apperr.New(apperr.Precondition,
				"the node has no key yet that values could be sealed to: install its agent first, then enter the secret").WithField(field+".value", nil)
		case secret.Encrypted:
			if secret.PublicKey == "" {
				secret.PublicKey = key
			}
			if secret.PublicKey != key {
				return nil, apperr.InvalidField(field+".publicKey", secret.PublicKey, "is not the node's key, which is %s", key)
			}
			if err := s.Sealer.Check(secret.Value); err != nil {
				return nil, apperr.InvalidField(field+".value", nil, "%v", err)
			}
		default:
			sealed, err := s.Sealer.Seal(key, secret.Value)
			if err != nil {
				return nil, fmt.Errorf("seal the secret %s: %w", secret.Key, err)
			}
			secret.Value, secret.Encrypted, secret.PublicKey = sealed, true, key
		}
		list[i] = secret
	}
	return list, nil
}
