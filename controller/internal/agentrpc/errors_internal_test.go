package agentrpc

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
)

func TestEveryKindHasItsCode(t *testing.T) {
	seen := map[codes.Code]apperr.Kind{}
	for _, kind := range apperr.Kinds() {
		code := codeOf(kind)
		if (code == codes.Internal) != (kind == apperr.Internal) {
			t.Errorf("%v answers %v", kind, code)
		}
		if other, taken := seen[code]; taken {
			t.Errorf("%v and %v both answer %v", kind, other, code)
		}
		seen[code] = kind
	}
}

func TestReasonsReachTheAgent(t *testing.T) {
	for _, reason := range []string{
		agent.ReasonTokenUnknown, agent.ReasonTokenUsed, agent.ReasonTokenExpired,
		agent.ReasonRevoked, agent.ReasonReplaced, reasonProtocol, reasonBusy,
	} {
		err := toStatus(slog.New(slog.DiscardHandler), fmt.Errorf("open: %w", apperr.New(apperr.Forbidden, "go away").WithReason(reason)))
		details := status.Convert(err).Details()
		if len(details) != 1 {
			t.Errorf("%s: %d details", reason, len(details))
			continue
		}
		if r, ok := details[0].(*agentv1.Refusal); !ok || r.GetReason() == agentv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED {
			t.Errorf("%s: detail %v", reason, details[0])
		}
	}
}

func TestOurOwnFaultsAreLoggedAndNotTold(t *testing.T) {
	var log strings.Builder
	err := toStatus(slog.New(slog.NewTextHandler(&log, nil)), errors.New("relation is on fire"))
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "fire") || !strings.Contains(log.String(), "fire") {
		t.Errorf("told %v, logged %s", err, log.String())
	}
}
