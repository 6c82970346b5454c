package deployment

import (
	"context"
	"fmt"
	"strings"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// ReasonRemoval is the reason of an error that a confirmation would make go
// away.
const ReasonRemoval = "removal-not-confirmed"

// Removal is what a set takes away from a node.
type Removal struct {
	// Workloads is how many of the Held ones go.
	Workloads int
	Held      int
	// TooMany: the node's agent refuses it unless it is confirmed.
	TooMany bool
}

// checkRemoval refuses a start whose release removes so many of the node's
// workloads that the agent would refuse it. Now is what the prefix is assigned.
func (s *Service) checkRemoval(ctx context.Context, d Deployment, now Assignment, next spec.Deployment) error {
	if now.Deployment == nil {
		return nil
	}
	then := now
	then.Deployment, then.RemovalConfirmed = &next, false
	// Seen alone, the prefix loses as many workloads and the greatest part.
	if alone := s.Removal([]Assignment{now}, []Assignment{then}); !alone.TooMany {
		return nil
	}
	set, err := s.Store.ReadSet(ctx, d.Node.ID)
	if err != nil {
		return err
	}
	r := s.Removal(set.Assignments, []Assignment{then})
	if !r.TooMany {
		return nil
	}
	return apperr.New(apperr.Precondition,
		"this release removes %d of the %d workloads that the node runs: %s; start it with confirmRemoval=true if that is meant",
		r.Workloads, r.Held, missing(*now.Deployment, next)).WithField("confirmRemoval", false).WithReason(ReasonRemoval)
}

// missing names the containers that only the earlier deployment has.
func missing(earlier, later spec.Deployment) string {
	const most = 20
	kept := map[string]bool{}
	for _, w := range later.Workloads {
		kept[w.InstanceID], kept[w.Name()] = true, true
	}
	var names []string
	for _, w := range earlier.Workloads {
		if !kept[w.InstanceID] && !kept[w.Name()] {
			names = append(names, earlier.Prefix+"-"+w.Name())
		}
	}
	if extra := len(names) - most; extra > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", extra))
	}
	return strings.Join(names, ", ")
}
