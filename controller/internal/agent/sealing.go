package agent

import (
	"context"

	"fairlead.dev/shared/apperr"
)

// maxSealingKeyLength is more than a public key has.
const maxSealingKeyLength = 200

// KeepSealingKey notes what secrets for the session's node are sealed to, when
// the agent says another key than before: one that was installed anew has one.
// Errors: Invalid; as Holds.
func (s *Service) KeepSealingKey(ctx context.Context, session Session, key string) error {
	if key == session.SealingKey {
		return nil
	}
	if len(key) > maxSealingKeyLength {
		return apperr.InvalidField("sealing_key", nil, "must be at most %d characters", maxSealingKeyLength)
	}
	kept, err := s.Store.KeepSealingKey(ctx, session.AgentID, session.Epoch, key)
	if err == nil && !kept {
		return replaced()
	}
	return err
}
