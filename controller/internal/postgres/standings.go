package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
)

// readStandings reads, for each question, only what its answer needs: nothing
// of the node's set when the agent holds it for certain; of a set that is known
// up to a generation the parts of its hash, and the specs of what came after.
const readStandings = `
	with asked as (
		select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::bool[], $7::bool[])
			as q (agent_id, node_id, lineage, generation, hash, sure, whole)
	), known as (
		select q.agent_id, q.node_id, q.generation as held, q.whole,
			s.value as lineage, n.generation, g.applied_generation, g.applied_set_hash, g.replaces_lineage, g.diverged,
			q.lineage = s.value as ours, coalesce(o.set_hash, '') as offered,
			q.lineage = s.value and (q.sure or q.generation = g.applied_generation and q.hash = g.applied_set_hash) as certain
		from asked q
		join nodes n on n.id = q.node_id
		join agents g on g.id = q.agent_id
		join settings s on s.key = 'lineage'
		left join offered_sets o on o.node_id = q.node_id and o.generation = q.generation and q.lineage = s.value
	), wanted as (
		select *,
			case when certain and not whole and held < generation and not exists (
					select 1 from forgotten_assignments f where f.node_id = known.node_id and f.kept and f.generation > held)
				then held else 0 end as base,
			case when ours then held < generation or held = generation and not certain
				else held = 0 and generation > 0 or replaces_lineage <> '' end as needed
		from known
	)
	select w.agent_id, w.lineage, w.generation, w.applied_generation, w.applied_set_hash, w.replaces_lineage, w.diverged, w.offered,
		w.base, w.needed, x.prefix, x.generation, x.deployment_id, x.release_id, x.tombstone, x.removal_confirmed, x.set_part,
		case when x.wire is null then x.spec end as spec, x.wire, x.expected
	from wanted w
	left join lateral (
		select a.prefix, a.generation, a.deployment_id, a.release_id, a.tombstone, a.removal_confirmed, r.set_part,
			case when a.generation > w.base and (w.held < w.generation or not w.ours) or r.set_part is null then r.spec end as spec,
			case when a.generation > w.base and (w.held < w.generation or not w.ours) or r.set_part is null then r.wire end as wire,
			case when r.outcome = 'pending' then r.plan_hash end as expected
		from assignments a left join releases r on r.id = a.release_id
		where a.node_id = w.node_id
		union all
		select f.prefix, f.generation, null, null, null, false, null, null, null, null
		from forgotten_assignments f
		where f.node_id = w.node_id and w.base > 0 and f.generation > w.base
	) x on w.needed
	order by w.agent_id, x.prefix`

// standingLine is one row of readStandings: an agent's standing with one
// assignment, or with a prefix that was forgotten, or with neither.
type standingLine struct {
	agentID     uuid.UUID
	standing    deployment.StandingRow
	generation  int64
	applied     int64
	appliedHash string
	base        int64
	needed      bool
	prefix      *string
	assigned    *int64
	deployment  *uuid.UUID
	release     *uuid.UUID
	tombstone   *string
	confirmed   *bool
	part        *string
	spec        *string
	wire        []byte
	expected    *string
}

func (l *standingLine) scan(rows *sql.Rows) error {
	return rows.Scan(&l.agentID, &l.standing.Lineage, &l.generation, &l.applied, &l.appliedHash, &l.standing.Replaces, &l.standing.Diverged, &l.standing.Offered,
		&l.base, &l.needed, &l.prefix, &l.assigned, &l.deployment, &l.release, &l.tombstone, &l.confirmed, &l.part, &l.spec, &l.wire, &l.expected)
}

// ReadStandings returns how agents stand, by agent, each as it is at one
// moment. Agents and nodes that are not there are missing.
func (db *DB) ReadStandings(ctx context.Context, asks []deployment.Ask) (map[uuid.UUID]deployment.StandingRow, error) {
	found := make(map[uuid.UUID]deployment.StandingRow, len(asks))
	parts := map[uuid.UUID][]specpb.SetPart{}
	needed := map[uuid.UUID]bool{}
	err := db.queryRows(ctx, "read what nodes should run", func(rows *sql.Rows) error {
		var l standingLine
		if err := l.scan(rows); err != nil {
			return err
		}
		row, known := found[l.agentID]
		if !known {
			row = l.standing
			row.Generation, row.Known = toGeneration(l.generation), toGeneration(l.base)
			row.Applied = deployment.Held{Lineage: row.Lineage, Generation: toGeneration(l.applied), Hash: l.appliedHash}
			needed[l.agentID] = l.needed
		}
		switch {
		case l.prefix == nil: // nothing is assigned, or nothing had to be read
		case l.deployment == nil:
			row.Forgotten = append(row.Forgotten, *l.prefix)
		default:
			a, part, err := l.assignment()
			if err != nil {
				return err
			}
			parts[l.agentID] = append(parts[l.agentID], part)
			if a.Generation > row.Known {
				row.Assignments = append(row.Assignments, a)
			}
		}
		found[l.agentID] = row
		return nil
	}, readStandings,
		ids(asks, func(a deployment.Ask) uuid.UUID { return a.AgentID }),
		ids(asks, func(a deployment.Ask) uuid.UUID { return a.NodeID }),
		column(asks, func(a deployment.Ask) string { return a.Held.Lineage }),
		column(asks, func(a deployment.Ask) int64 { return int64(a.Held.Generation) }),
		column(asks, func(a deployment.Ask) string { return a.Held.Hash }),
		column(asks, func(a deployment.Ask) bool { return a.Sure }),
		column(asks, func(a deployment.Ask) bool { return a.Whole }),
	)
	if err != nil {
		return nil, err
	}
	for id, row := range found {
		if needed[id] {
			row.Hash = specpb.HashParts(row.Lineage, row.Generation, parts[id])
			found[id] = row
		}
	}
	return found, nil
}

// assignment returns the line's assignment, and what it adds to the hash of
// its set.
func (l *standingLine) assignment() (deployment.Assignment, specpb.SetPart, error) {
	a := deployment.Assignment{
		Prefix: *l.prefix, Generation: toGeneration(*l.assigned), DeploymentID: *l.deployment,
		ReleaseID: orZero(l.release), Tombstone: orZero(l.tombstone), RemovalConfirmed: orZero(l.confirmed),
		ExpectedPlan: orZero(l.expected),
	}
	part := specpb.SetPart{Prefix: a.Prefix, Generation: a.Generation}
	content, err := l.content()
	if err != nil {
		return a, part, fmt.Errorf("read assignment of prefix %s: %w", a.Prefix, err)
	}
	a.Deployment = content
	switch {
	case l.tombstone != nil:
		part.Desired = specpb.TombstonePart(a.DeploymentID.String(), a.Tombstone)
	case l.part != nil:
		part.Desired = *l.part
	case a.Deployment != nil: // a release of before parts were kept
		part.Desired = specpb.DeploymentPart(specpb.DeploymentToProto(*a.Deployment))
	}
	return a, part, nil
}

// content returns what the line's release runs; nil when it was not read.
func (l *standingLine) content() (*spec.Deployment, error) {
	var content spec.Deployment
	var err error
	switch {
	case l.wire != nil:
		content, err = decodeWire(l.wire)
	case l.spec != nil:
		content, err = decodeSpec(*l.spec)
	default:
		return nil, nil
	}
	return &content, err
}

// SetDiverged notes why an agent is sent nothing, or with "" that it is again.
// It reports false when the epoch is not the agent's any more.
func (db *DB) SetDiverged(ctx context.Context, agentID uuid.UUID, epoch int64, held deployment.Held, why string, at time.Time) (bool, error) {
	n, err := db.execRows(ctx, "note what the agent holds", `update agents set
			diverged = $3, diverged_at = case when $3 = '' then null else coalesce(diverged_at, $4) end,
			diverged_lineage = $5, diverged_generation = $6
		where id = $1 and epoch = $2 and revoked_at is null`,
		agentID, epoch, why, at, held.Lineage, int64(held.Generation))
	return n > 0, err
}

// SetApplied notes which set the agent of a session holds. It refuses it no
// more, and what it was offered until then need not be known.
func (db *DB) SetApplied(ctx context.Context, agentID uuid.UUID, epoch int64, held deployment.Held) error {
	_, err := db.execRows(ctx, "note what the agent holds", `with noted as (
			update agents set applied_generation = $3, applied_set_hash = $4,
				refusal = '', refused_generation = 0, refused_at = null
			where id = $1 and epoch = $2 and revoked_at is null returning node_id)
		delete from offered_sets o using noted where o.node_id = noted.node_id and o.generation <= $3`,
		agentID, epoch, int64(held.Generation), held.Hash)
	return err
}

// setPart returns what a release adds to the hash of a set.
func setPart(d *agentv1.Deployment) *string {
	part := specpb.DeploymentPart(d)
	return &part
}

// FindDivergence returns what is known of the agent of a node.
func (db *DB) FindDivergence(ctx context.Context, nodeID uuid.UUID) (deployment.Divergence, error) {
	var row struct {
		ID                 uuid.UUID
		Diverged           string
		DivergedLineage    string
		DivergedGeneration int64
		Refusal            string
	}
	err := db.in(ctx).Table("agents").Where("node_id = ? and revoked_at is null", nodeID).
		Clauses(clause.Locking{Strength: "no key update"}).Take(&row).Error
	d := deployment.Divergence{AgentID: row.ID, Why: row.Diverged, Refusal: row.Refusal}
	if d.Why != "" {
		d.Held = deployment.Held{Lineage: row.DivergedLineage, Generation: toGeneration(row.DivergedGeneration)}
	}
	return d, mapError(err, "find the node's agent")
}

// AdoptSet makes a node's set one that its agent will take.
func (db *DB) AdoptSet(ctx context.Context, nodeID uuid.UUID, d deployment.Divergence, confirmRemoval bool) (uint64, error) {
	const doing = "make the node's set the wanted one"
	if _, err := db.execRows(ctx, doing, "update nodes set generation = greatest(generation, $2) where id = $1",
		nodeID, int64(d.Held.Generation)); err != nil {
		return 0, err
	}
	generation, err := db.RaiseGeneration(ctx, nodeID)
	if err != nil {
		return 0, err
	}
	// Every prefix is looked at anew: the agent may know its generation with
	// another content.
	_, err = db.execRows(ctx, doing, "update assignments set generation = $2, removal_confirmed = $3 where node_id = $1",
		nodeID, int64(generation), confirmRemoval)
	if err != nil {
		return 0, err
	}
	// What the agent holds may be left although this database never wanted it.
	_, err = db.execRows(ctx, doing, "delete from offered_sets where node_id = $1 and generation = $2", nodeID, int64(d.Held.Generation))
	if err != nil {
		return 0, err
	}
	_, err = db.execRows(ctx, doing, `update agents set replaces_lineage = case when $2 = (select value from settings where key = 'lineage') then '' else $2 end
		where id = $1`, d.AgentID, d.Held.Lineage)
	return generation, err
}

// FindNodeTeam returns a node's team and name.
func (db *DB) FindNodeTeam(ctx context.Context, nodeID uuid.UUID) (teamID uuid.UUID, name string, err error) {
	var row struct {
		TeamID uuid.UUID
		Name   string
	}
	err = db.in(ctx).Table("nodes").Select("team_id, name").Where("id = ?", nodeID).Take(&row).Error
	return row.TeamID, row.Name, mapError(err, "find the node")
}
