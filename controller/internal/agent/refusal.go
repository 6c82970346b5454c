package agent

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
)

// RefusalEvery is how often the refusals of one node are kept.
const RefusalEvery = time.Minute

// Refusal is why an agent was turned away.
type Refusal struct {
	AgentID uuid.UUID
	// Reason is one of the reasons of errors, or the error's kind.
	Reason  string
	Message string
	Address string
	At      time.Time
}

// maxRefusal bounds what is kept of a refusal, in bytes.
const maxRefusal = 500

// Refused keeps why an agent could not connect, for those who look after its
// node: the last one, at most one a minute.
func (s *Service) Refused(ctx context.Context, r Refusal) error {
	r.At = s.Now()
	r.Message = strings.ToValidUTF8(strings.ReplaceAll(r.Message[:min(len(r.Message), maxRefusal)], "\x00", ""), "")
	return s.Store.PutRefusal(ctx, r, r.At.Add(-RefusalEvery))
}
