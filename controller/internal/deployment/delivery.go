package deployment

import (
	"context"
	"math"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Held is the set that an agent says it holds; zero when it holds none.
type Held struct {
	Lineage    string
	Generation uint64
	Hash       string
}

// sane makes half of a set none, and a generation that no database has counted
// to the greatest there is.
func (h Held) sane() Held {
	if h.Lineage == "" || h.Generation == 0 {
		return Held{}
	}
	h.Generation = min(h.Generation, math.MaxInt64)
	return h
}

// Ask is the question of one agent's session: what is new for the node, seen
// from what the agent holds?
type Ask struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	// Epoch is the session's; what is noted of the agent is noted for it only.
	Epoch int64
	Held  Held
	// Sure is set when Held was acknowledged on the present session.
	Sure bool
	// Whole asks for the whole set even if a change would do: the agent does
	// not take changes, or has refused one.
	Whole bool
}

// Standing is how what an agent holds relates to what its node should run.
type Standing string

// Standings.
const (
	// Current: the agent holds just that.
	Current Standing = "current"
	// Behind: there is a newer set, to be sent.
	Behind Standing = "behind"
	// Diverged: the agent holds a set that this database has never wanted. It
	// was put back from a backup, or is another one. Nothing is sent until
	// somebody decides, by Adopt.
	Diverged Standing = "diverged"
)

// Update answers an Ask.
type Update struct {
	Standing Standing
	// Set is what to send when the standing is Behind.
	Set Set
}

// StandingRow is how an agent stands as the store finds it.
type StandingRow struct {
	// Lineage is the database's, Generation the node's.
	Lineage    string
	Generation uint64
	// Hash is the node's whole set's; "" when it did not have to be read,
	// because Applied is Held.
	Hash string
	// Applied is the last set that the agent acknowledged to this database.
	Applied Held
	// Offered is the hash of the set that the node was to run at the generation
	// which the agent holds, when that is between Applied and Generation; ""
	// when that is not known.
	Offered string
	// Replaces is the lineage whose set was decided to be replaced.
	Replaces string
	// Diverged is why the agent is sent nothing; "" when it is.
	Diverged string
	// Known is the generation whose difference to the set Assignments and
	// Forgotten are; 0 when Assignments is all of it.
	Known       uint64
	Assignments []Assignment
	Forgotten   []string
}

// Updates answers the questions of any number of sessions by few statements,
// in the order of the questions. A node or agent that is gone makes the update
// Current. No actor is asked: it is for the nodes' own agents. What it finds of
// agents that diverged, or do so no more, it writes down, and which set they
// hold when the database does not know that.
//
// Credentials that can't be had are left out and logged, so that one registry
// can't keep a node from everything else; what needs them fails to be pulled
// and says so.
func (s *Service) Updates(ctx context.Context, asks []Ask) ([]Update, error) {
	asks = slices.Clone(asks)
	for i := range asks {
		asks[i].Held = asks[i].Held.sane()
	}
	rows, err := s.Store.ReadStandings(ctx, asks)
	if err != nil {
		return nil, err
	}
	updates := make([]Update, len(asks))
	known := map[string]*spec.RegistryAuth{}
	for i, ask := range asks {
		row, found := rows[ask.AgentID]
		if !found {
			updates[i].Standing = Current
			continue
		}
		standing, why := row.judge(ask)
		updates[i].Standing = standing
		if why != row.Diverged {
			if err := s.noteDivergence(ctx, ask, row, why); err != nil {
				return nil, err
			}
		}
		if standing == Current && !ask.Sure && ask.Held != row.Applied && ask.Held != (Held{}) {
			// It was acknowledged, and that was lost on its way.
			if err := s.Store.SetApplied(ctx, ask.AgentID, ask.Epoch, ask.Held); err != nil {
				return nil, err
			}
		}
		if standing != Behind {
			continue
		}
		updates[i].Set = row.set(ask)
		if err := s.addCredentials(ctx, ask.NodeID, updates[i].Set, known); err != nil {
			return nil, err
		}
	}
	return updates, nil
}

// judge returns the standing, and why it is Diverged when it is.
func (r StandingRow) judge(a Ask) (Standing, string) {
	switch held := a.Held; {
	case held == Held{}:
		if r.Generation == 0 {
			return Current, ""
		}
		return Behind, ""
	case held.Lineage != r.Lineage && held.Lineage == r.Replaces:
		return Behind, ""
	case held.Lineage != r.Lineage:
		return Diverged, "the agent holds a set of another database: this one was set up anew, or the node belonged to another controller"
	case held.Generation > r.Generation:
		return Diverged, "the agent holds a newer set than this database has ever wanted: the database was put back from a backup"
	case held.Generation < r.Generation && r.Offered != "" && held.Hash != r.Offered:
		return Diverged, "the agent holds another set of its generation than this database wanted: the database was put back from a backup and has counted on since"
	case held.Generation < r.Generation:
		return Behind, ""
	case a.Sure || held == r.Applied || held.Hash == r.Hash:
		return Current, ""
	default:
		return Diverged, "the agent holds another set of the same generation: the database was put back from a backup"
	}
}

// set returns what is to be sent: a change when the agent takes one and holds
// for certain what it is a change to, else all.
func (r StandingRow) set(a Ask) Set {
	set := Set{Lineage: r.Lineage, Generation: r.Generation, Hash: r.Hash, Assignments: r.Assignments}
	switch {
	case r.Known != 0:
		set.Base, set.Forgotten = a.Held, r.Forgotten
	case a.Held.Lineage != r.Lineage:
		set.Replaces = a.Held.Lineage
	}
	return set
}

// noteDivergence writes down that an agent diverged, or that it does no more.
func (s *Service) noteDivergence(ctx context.Context, a Ask, row StandingRow, why string) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		noted, err := s.Store.SetDiverged(ctx, a.AgentID, a.Epoch, a.Held, why, s.Now())
		if err != nil || !noted { // another session has taken over
			return err
		}
		data := map[string]any{
			"held": a.Held.Generation, "wanted": row.Generation, "heldLineage": a.Held.Lineage, "lineage": row.Lineage,
		}
		event := EventReunited
		if why != "" {
			event, data["reason"] = EventDiverged, why
		}
		if err := s.Store.AppendNodeEvent(ctx, a.NodeID, event, data, s.Now()); err != nil {
			return err
		}
		team, name, err := s.Store.FindNodeTeam(ctx, a.NodeID)
		if err != nil {
			return err
		}
		data["id"], data["name"] = a.NodeID, name
		return s.Audit.Record(actor.WithTeam(ctx, actor.Team{ID: team}), authz.Action("node."+event), data)
	})
}

// Events in a node's history.
const (
	EventDiverged = "diverged"
	EventReunited = "reunited"
)

// addCredentials puts what each registry takes into the set's images, and what
// opens each storage beside it, sealed to the node; what registries take that was
// asked for already is in known.
func (s *Service) addCredentials(ctx context.Context, nodeID uuid.UUID, set Set, known map[string]*spec.RegistryAuth) error {
	for _, a := range set.Assignments {
		if a.Deployment == nil {
			continue
		}
		for i, w := range a.Deployment.Workloads {
			auth, asked := known[w.Image.RegistryID]
			if !asked {
				var err error
				if auth, err = s.credentials(ctx, w.Image.RegistryID); err != nil {
					return err
				}
				known[w.Image.RegistryID] = auth
			}
			a.Deployment.Workloads[i].Image.Auth = auth
		}
		if err := s.addStorageKeys(ctx, nodeID, a.Deployment.Workloads); err != nil {
			return err
		}
	}
	return nil
}

// credentials returns nil when there are none or they can't be had.
func (s *Service) credentials(ctx context.Context, registryID string) (*spec.RegistryAuth, error) {
	var auth *spec.RegistryAuth
	id, err := uuid.Parse(registryID)
	if err == nil {
		auth, err = s.Credentials(ctx, id)
	}
	switch {
	case err == nil:
		return auth, nil
	case apperr.Is(err, apperr.Unavailable), ctx.Err() != nil:
		return nil, err
	case !apperr.Is(err, apperr.NotFound): // a registry that is gone has none
		s.Logger.Error("registry credentials can't be read; images are pulled without", "registry", registryID, "error", err)
	}
	return nil, nil
}
