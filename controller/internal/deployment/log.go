package deployment

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Limits on a deployment's log.
const (
	// MaxLogEntries is how many entries of a deployment are kept, the newest.
	MaxLogEntries = 5000
	// MaxLogLines bounds the lines of one entry, MaxLineBytes each of them.
	MaxLogLines  = 200
	MaxLineBytes = 4 << 10
	// MaxLogPage bounds one reading of a log.
	MaxLogPage = 1000

	maxReasonBytes = 200
)

// EntryType says what an entry of a log is about.
type EntryType string

// Types of log entries.
const (
	EntryLog            EntryType = "log"
	EntryState          EntryType = "deployment-status"
	EntryContainerState EntryType = "container-state"
)

// LogEntry is one entry of a deployment's log.
type LogEntry struct {
	// Number rises within a deployment's log; set on what was read.
	Number       int64
	DeploymentID uuid.UUID
	// Release is the number of the release it is about.
	Release int64
	Type    EntryType
	Level   workload.Level
	// State is what the deployment became; of EntryState only.
	State State
	// InstanceID is the zero UUID when it is about the whole deployment.
	InstanceID uuid.UUID
	// Container is the state a container came to, and Reason the engine's word
	// for it; of EntryContainerState only.
	Container spec.ContainerState
	Reason    string
	Lines     []string
	At        time.Time
}

// LogQuery chooses a page of a log.
type LogQuery struct {
	// Skip is how many of the newest entries are passed over, Take how many
	// older ones are returned at most.
	Skip, Take int
	// Try chooses one release; 0 means all.
	Try int64
}

// Log returns a page of a deployment's log, counted from the newest entry, in
// ascending order, and how many entries there are, see page.Counted. Errors:
// Invalid, NotFound.
func (s *Service) Log(ctx context.Context, id uuid.UUID, q LogQuery) ([]LogEntry, int, error) {
	switch {
	case q.Skip < 0:
		return nil, 0, apperr.InvalidField("skip", q.Skip, "must not be negative")
	case q.Take < 1 || q.Take > MaxLogPage:
		return nil, 0, apperr.InvalidField("take", q.Take, "must be 1 to %d", MaxLogPage)
	case q.Try < 0:
		return nil, 0, apperr.InvalidField("try", q.Try, "must not be negative")
	}
	if _, err := s.find(ctx, authz.DeploymentRead, id); err != nil {
		return nil, 0, err
	}
	return s.Store.ListLog(ctx, id, q)
}

// append adds entries and drops the oldest of each deployment above the limit.
func (s *Service) append(ctx context.Context, entries ...LogEntry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := s.Store.AppendLog(ctx, entries); err != nil {
		return err
	}
	touched := map[uuid.UUID]bool{}
	for _, e := range entries {
		touched[e.DeploymentID] = true
	}
	return s.Store.TrimLogs(ctx, slices.Collect(maps.Keys(touched)), MaxLogEntries)
}

// boundLines makes what a node sent fit to be kept: not too many lines, with a
// word on what was left out.
func boundLines(lines []string) []string {
	kept := lines
	if len(lines) > MaxLogLines {
		kept = append(lines[:MaxLogLines-1:MaxLogLines-1], "… more lines were left out")
	}
	bounded := make([]string, len(kept))
	for i, line := range kept {
		bounded[i] = boundText(line, MaxLineBytes)
	}
	return bounded
}

// boundText returns valid UTF-8 without NUL, which the database can't hold, of
// at most limit bytes.
func boundText(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") // what is left of a rune goes
	}
	return text
}
