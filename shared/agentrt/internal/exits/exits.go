// Package exits notices that containers of ours ended, whoever looked away
// meanwhile: it compares each list of containers with what it saw before, which
// it keeps on the disk. An end is told once, as a fact in the spool.
package exits

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/spool"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

const (
	// maxLines and maxLogBytes bound the last words of a container.
	maxLines    = 50
	maxLogBytes = 16 << 10
	// logTimeout bounds the reading of one log, logsTimeout of all together;
	// ends without last words are better than none.
	logTimeout  = 5 * time.Second
	logsTimeout = 20 * time.Second
)

// Logs reads the log of a container, as workload.Driver does.
type Logs func(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error

// Config is what a Detector is made of.
type Config struct {
	// Path is the file that keeps what was seen.
	Path string
	// Agent is the id of the agent; what another one saw is dropped.
	Agent string
	Spool *spool.Spool
	Logs  Logs
	// Noticed is called after facts came into the spool.
	Noticed func()
	Now     func() time.Time
	Log     *slog.Logger
}

// Detector compares lists. It is used by one goroutine at a time.
type Detector struct {
	config Config
	// seen is by engine id; nil when nothing was ever seen, and whatever has
	// ended by then is not news.
	seen map[string]sight
	// saved is whether the file has what was seen.
	saved bool
	// untold are the containers whose ends the spool did not take; as long as
	// they are there their ends are noticed again.
	untold map[string]bool
}

// sight is what was seen of a container of ours.
type sight struct {
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	Restarts   int       `json:"restarts,omitempty"`
	Running    bool      `json:"running,omitempty"`
}

type file struct {
	Agent      string           `json:"agent"`
	Containers map[string]sight `json:"containers"`
}

// Open reads what was seen before. A file that makes no sense is as none.
func Open(config Config) (*Detector, error) {
	d := &Detector{config: config}
	content, err := os.ReadFile(config.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read which containers were seen: %w", err)
	}
	f := parse(content)
	if f.Agent == "" || f.Agent != config.Agent {
		return d, nil
	}
	d.seen, d.saved = f.Containers, true
	if d.seen == nil {
		d.seen = map[string]sight{}
	}
	return d, d.replay()
}

// parse returns the zero file for content that makes no sense.
func parse(content []byte) (f file) {
	if json.Unmarshal(content, &f) != nil {
		return file{}
	}
	return f
}

// replay goes through the facts that are in the spool: what they tell was seen,
// even if the agent was killed before it could note that.
func (d *Detector) replay() error {
	facts, err := d.config.Spool.Facts()
	if err != nil {
		return err
	}
	for _, fact := range facts {
		s := d.seen[fact.GetEngineId()]
		if at := fact.GetTime().AsTime(); fact.GetExit() != nil && at.After(s.FinishedAt) {
			s.FinishedAt, s.Running = at, false
			s.Restarts = max(s.Restarts, int(fact.GetExit().GetRestartCount()))
			d.seen[fact.GetEngineId()] = s
		}
	}
	return nil
}

// Look compares a complete list of the node's containers with the last one.
func (d *Detector) Look(ctx context.Context, containers []workload.Container) {
	ctx, cancel := context.WithTimeout(ctx, logsTimeout)
	defer cancel()
	next := make(map[string]sight, len(d.seen))
	var facts []*agentv1.Fact
	var ends []string
	changed := d.seen == nil
	for _, c := range containers {
		if !c.Managed {
			continue
		}
		now := sight{StartedAt: c.StartedAt.UTC(), FinishedAt: c.FinishedAt.UTC(), Restarts: c.RestartCount, Running: c.State == spec.StateRunning}
		before := d.seen[c.EngineID]
		if d.seen != nil && ended(before, now) {
			facts, ends = append(facts, d.exit(ctx, c)), append(ends, c.EngineID)
		}
		changed = changed || now != before
		next[c.EngineID] = now
	}
	changed = changed || len(next) != len(d.seen)
	d.lose(next)
	if d.config.Spool.Append(facts...) != nil { // it says so in the log
		d.forget(ends, next)
	}
	d.seen = next
	d.keep(changed)
}

// forget makes ends that could not be told ones that nobody has seen.
func (d *Detector) forget(ends []string, next map[string]sight) {
	d.untold = make(map[string]bool, len(ends))
	for _, id := range ends {
		d.untold[id] = true
		if before, known := d.seen[id]; known {
			next[id] = before
		} else {
			delete(next, id)
		}
	}
}

// lose counts the ends as lost that were never told of containers that are gone.
func (d *Detector) lose(next map[string]sight) {
	lost := 0
	for id := range d.untold {
		if _, there := next[id]; !there {
			lost++
		}
	}
	d.config.Spool.Lose(lost)
	d.untold = nil
}

// ended reports whether a container ended between two looks; the zero sight is
// of one that was not there. The end of a workload of several pods is that of the
// one which ended last: with that pod gone it is an older end, which is no news.
func ended(before, now sight) bool {
	switch {
	case now.StartedAt.IsZero():
		return false // it never ran
	case now.FinishedAt.After(before.FinishedAt):
		return true
	case !now.FinishedAt.IsZero() && before.Running && !now.Running: // by a clock that was set back
		return true
	case now.Restarts > before.Restarts:
		return true
	default: // engines that forget when a container ended
		return before.Running && (!now.Running || !now.StartedAt.Equal(before.StartedAt)) && now.FinishedAt.IsZero()
	}
}

// keep writes what was seen, after the facts, and only then lets the facts be
// sent: killed in between, the agent finds the facts in the spool and does not
// tell the same again.
func (d *Detector) keep(changed bool) {
	if changed || !d.saved {
		err := d.save()
		if err != nil && d.saved {
			d.config.Log.Error("which containers were seen cannot be noted; their ends are told when it can", logging.KeyError, err)
		}
		if d.saved = err == nil; !d.saved {
			return
		}
	}
	d.config.Spool.Publish()
	d.config.Spool.Trim()
	d.config.Noticed()
}

func (d *Detector) save() error {
	content, err := json.Marshal(file{Agent: d.config.Agent, Containers: d.seen})
	if err != nil {
		return err
	}
	return spool.Replace(d.config.Path, content)
}

// exit is the fact that a container ended.
func (d *Detector) exit(ctx context.Context, c workload.Container) *agentv1.Fact {
	reason := strings.ToValidUTF8(c.EndReason, "\uFFFD")
	exit := &agentv1.ContainerExit{
		ExitCode: int32(c.ExitCode), OomKilled: c.OOMKilled, RestartCount: int32(c.RestartCount), Reason: reason,
		// The engine starts it again sooner than it can be looked at.
		Unseen: c.State == spec.StateRunning,
	}
	at := c.FinishedAt
	if at.IsZero() {
		at = d.config.Now()
	}
	exit.LogTail = d.tail(ctx, c, at)
	return &agentv1.Fact{
		Time: timestamppb.New(at), DeploymentId: c.DeploymentID, Release: c.Release, InstanceId: c.InstanceID,
		Prefix: c.ID.Prefix, Name: c.ID.Name, EngineId: c.EngineID,
		What: &agentv1.Fact_Exit{Exit: exit},
	}
}

// tail returns the last lines that a container wrote before it ended, as many
// as are kept.
func (d *Detector) tail(ctx context.Context, c workload.Container, end time.Time) (lines []string) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	size := 0
	err := d.config.Logs(ctx, c.ID, workload.LogOptions{Tail: maxLines}, func(l workload.LogLine) error {
		if c.State == spec.StateRunning && l.Time.After(end) {
			return nil // written after it was started again
		}
		text := strings.ToValidUTF8(l.Text[:min(len(l.Text), maxLogBytes)], "\uFFFD")
		lines, size = append(lines, text), size+len(text)
		for len(lines) > maxLines || size > maxLogBytes {
			size -= len(lines[0])
			lines = lines[1:]
		}
		return nil
	})
	if err != nil {
		d.config.Log.Debug("the last words of a container cannot be read", "container", spec.ContainerName(c.ID.Prefix, c.ID.Name), logging.KeyError, err)
	}
	return lines
}
