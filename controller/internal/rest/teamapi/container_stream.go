package teamapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

const (
	// markEvery is how soon a change of a node's containers is seen by who
	// follows them.
	markEvery = time.Second
	// readEvery backs up the mark.
	readEvery = 15 * time.Second
)

type followContainersInput struct {
	NodePath
	Prefix      string `query:"prefix" maxLength:"63" doc:"Only this prefix's"`
	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"Id of the last event that was seen: when nothing changed since, nothing is told again"`
}

// containersEvent is what changed of a node's containers.
type containersEvent struct {
	Complete   bool              `json:"complete"`
	Containers []containerOutput `json:"containers"`
	Removed    []string          `json:"removed"`
}

func (a *api) containerStreamRoutes(bare string) {
	add(a, route{method: http.MethodGet, path: bare + "/events", summary: "Follow a node's containers", tag: "Containers",
		action: authz.ContainerRead, produces: eventStream}, a.followContainers)
}

func (a *api) followContainers(ctx context.Context, in *followContainersInput) (*streamed, error) {
	s := &containerStream{node: in.NodeID, api: a, at: in.LastEventID}
	if in.Prefix != "" {
		s.prefix = &in.Prefix
	}
	// What can be refused is refused before the stream begins.
	mark, err := a.deps.Nodes.ContainersMark(ctx, in.NodeID)
	if err != nil {
		return nil, err
	}
	list, err := a.deps.Nodes.Containers(ctx, in.NodeID, s.prefix)
	if err != nil {
		return nil, err
	}
	s.mark = mark
	return &streamed{func(c huma.Context) {
		s.eventWriter = &eventWriter{out: humagin.Unwrap(c)}
		if s.begin() == nil && s.tell(list) == nil {
			s.run(ctx, recheck(ctx, authz.ContainerRead))
		}
	}}, nil
}

// containerStream writes what changes of a node's containers.
type containerStream struct {
	*eventWriter
	api    *api
	node   uuid.UUID
	prefix *string
	// mark is of what was read last, at the id of what was told last.
	mark, at string
	// told is what was told, encoded, by the engine's ids; nil before.
	told map[string]string
}

// run ends when the node, the reader, its right to read or the controller does.
func (s *containerStream) run(ctx context.Context, allowed func(context.Context) error) {
	heartbeat, look, read, check := time.NewTicker(heartbeatEvery), time.NewTicker(markEvery), time.NewTicker(readEvery), time.NewTicker(recheckEvery)
	defer heartbeat.Stop()
	defer look.Stop()
	defer read.Stop()
	defer check.Stop()
	for {
		var err error
		select {
		case <-look.C:
			err = s.look(ctx, false)
		case <-read.C:
			err = s.look(ctx, true)
		case <-heartbeat.C:
			err = s.heartbeat()
		case <-check.C:
			if err = allowed(ctx); err != nil {
				s.end(err)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return
		}
	}
}

// look tells what changed; always reads the containers also where the mark is
// the same.
func (s *containerStream) look(ctx context.Context, always bool) error {
	mark, err := s.api.deps.Nodes.ContainersMark(ctx, s.node)
	if err == nil && mark == s.mark && !always {
		return nil
	}
	var list []workload.Container
	if err == nil {
		list, err = s.api.deps.Nodes.Containers(ctx, s.node, s.prefix)
	}
	if apperr.Is(err, apperr.Unavailable) {
		return nil // the database is away: look again later
	}
	if err != nil {
		s.end(err)
		return err
	}
	s.mark = mark
	return s.tell(list)
}

// end is the last word.
func (s *containerStream) end(err error) {
	s.event("end", toEnd(err))
	_ = s.flush()
}

// tell writes how a list differs from what was told; the whole list to who
// comes anew, or comes back and has missed something.
func (s *containerStream) tell(list []workload.Container) error {
	e := containersEvent{Complete: s.told == nil, Containers: []containerOutput{}, Removed: []string{}}
	now, sum := make(map[string]string, len(list)), sha256.New()
	for _, c := range list {
		out := toContainerOutput(c)
		text, err := json.Marshal(out)
		if err != nil {
			return err
		}
		_, _ = sum.Write(text) // never fails
		now[c.EngineID] = string(text)
		if s.told[c.EngineID] != string(text) {
			e.Containers = append(e.Containers, out)
		}
	}
	for id := range s.told {
		if _, there := now[id]; !there {
			e.Removed = append(e.Removed, id)
		}
	}
	s.told = now
	at := hex.EncodeToString(sum.Sum(nil)[:16])
	if at == s.at {
		return nil
	}
	s.at = at
	s.id(at)
	s.event("", e)
	return s.flush()
}
