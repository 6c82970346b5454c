package figures

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/pki"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/fleetsim"
)

// teamNodes is how many nodes a team has: lists of nodes are answered whole.
const teamNodes = 500

// world is what the fleet's nodes belong to. One node of each team is made
// through the API; the others are copies of it, made in the database, as are
// their enrolment tokens and deployments: what is measured begins after that.
type world struct {
	teams []*client.Team
	// nodes and deployments are ids by team, in the order of the tokens.
	nodes       []string
	deployments []string
	// fleet are the ids of nodes, as a set.
	fleet    map[string]bool
	deployed bool
	pin      pki.Pin
	arrivals arrivals
}

// newWorld makes teams with n nodes together and a token for each.
func (b *bench) newWorld(ctx context.Context, n int) ([]fleetsim.Token, error) {
	w := &world{}
	b.world = w
	var tokens []fleetsim.Token
	for first := 0; first < n; first += teamNodes {
		slug := fmt.Sprintf("fleet-%d", len(w.teams))
		team, err := b.controller.Client.CreateTeam(ctx, slug)
		if err != nil {
			return nil, err
		}
		made, _, pin, err := fleetsim.Tokens(ctx, team, slug+"-", 1, 1)
		if err != nil {
			return nil, err
		}
		w.teams, w.pin = append(w.teams, team), pin
		size := min(teamNodes, n-first)
		tokens = append(tokens, made...)
		w.nodes = append(w.nodes, made[0].NodeID)
		ids, err := b.copyNodes(ctx, made[0].NodeID, slug, size-1)
		if err != nil {
			return nil, err
		}
		for i, id := range ids {
			tokens = append(tokens, fleetsim.Token{NodeID: id, Token: fmt.Sprintf("%s-%d", slug, i+1)})
			w.nodes = append(w.nodes, id)
		}
	}
	return tokens, nil
}

// copyNodes makes n copies of a node with its token. The copies' columns are
// whatever the table has.
func (b *bench) copyNodes(ctx context.Context, template, name string, n int) (ids []string, err error) {
	err = b.postgres.Do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `insert into nodes
			select r.* from nodes t, generate_series(1, $2::int) i,
				lateral jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'name', $3::text || '-copy-' || lpad(i::text, 6, '0'))) r
			where t.id = $1 returning id::text, name`, template, n, name)
		if err != nil {
			return err
		}
		type made struct{ id, name string }
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m made, err error) { return m, row.Scan(&m.id, &m.name) })
		if err != nil {
			return err
		}
		slices.SortFunc(list, func(a, b made) int { return compare(a.name, b.name) })
		for _, m := range list {
			ids = append(ids, m.id)
		}
		_, err = c.Exec(ctx, `insert into installations
			select r.* from installations t, unnest($2::uuid[]) with ordinality as x(node, i),
				lateral jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'node_id', x.node,
					'token_hash', '\x' || encode(sha256(convert_to($3::text || '-' || x.i, 'UTF8')), 'hex'),
					'expires_at', now() + interval '1 day')) r
			where t.node_id = $1`, template, ids, name)
		return err
	})
	return ids, err
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// deploy makes a deployment for every node, which is not started yet.
func (b *bench) deploy(ctx context.Context) error {
	w := b.world
	if w.deployed {
		return nil
	}
	for t, team := range w.teams {
		if t*teamNodes >= len(w.nodes) {
			break // a team of those that warmed up
		}
		template, err := newDeployment(ctx, team, w.nodes[t*teamNodes])
		if err != nil {
			return err
		}
		nodes := w.nodes[t*teamNodes : min(len(w.nodes), (t+1)*teamNodes)]
		ids, err := b.copyDeployments(ctx, template, nodes[1:])
		if err != nil {
			return err
		}
		w.deployments = append(append(w.deployments, template), ids...)
	}
	w.deployed = true
	return b.analyze(ctx)
}

// analyze renews PostgreSQL's statistics, as it does by itself within minutes.
func (b *bench) analyze(ctx context.Context) error {
	return b.postgres.Do(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "analyze")
		return err
	})
}

// vacuum does what autovacuum would do at some moment after the parts before,
// so that it is not part of what is timed next.
func (b *bench) vacuum(ctx context.Context) error {
	return b.postgres.Do(ctx, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "vacuum analyze"); err != nil {
			return fmt.Errorf("vacuum: %w", err)
		}
		_, err := c.Exec(ctx, "checkpoint")
		return err
	})
}

func newDeployment(ctx context.Context, team *client.Team, node string) (string, error) {
	registry := struct {
		ID string `json:"id"`
	}{}
	err := team.Call(ctx, http.MethodPost, "/api/"+team.Slug+"/registries",
		client.Object{"type": "unchecked", "name": "images", "details": client.Object{"url": "registry.example.org"}}, &registry)
	if err != nil {
		return "", err
	}
	project, err := team.CreateProject(ctx, "shop")
	if err != nil {
		return "", err
	}
	environment := []client.Object{}
	for i := range 20 {
		environment = append(environment, client.Object{
			"id": fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "key": fmt.Sprintf("SETTING_%d", i), "value": "a value of some length, as they are",
		})
	}
	if _, err := project.AddImage(ctx, registry.ID, "shop/web:1.0.0", client.Object{"name": "web", "environment": environment}); err != nil {
		return "", err
	}
	return team.CreateDeployment(ctx, project.VersionID, node, "shop")
}

// copyDeployments makes a copy of a deployment on each node.
func (b *bench) copyDeployments(ctx context.Context, template string, nodes []string) (ids []string, err error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	err = b.postgres.Do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `insert into deployments
			select r.* from deployments t, unnest($2::uuid[]) node,
				lateral jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'node_id', node)) r
			where t.id = $1 returning id::text, node_id::text`, template, nodes)
		if err != nil {
			return err
		}
		byNode := map[string]string{}
		var id, node string
		if _, err := pgx.ForEachRow(rows, []any{&id, &node}, func() error { byNode[node] = id; return nil }); err != nil {
			return err
		}
		for _, node := range nodes {
			ids = append(ids, byNode[node])
		}
		_, err = c.Exec(ctx, `insert into instances
			select r.* from instances t, unnest($2::uuid[]) deployment,
				lateral jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'deployment_id', deployment)) r
			where t.deployment_id = $1`, template, ids)
		return err
	})
	return ids, err
}

// team returns the team of the node with this index.
func (w *world) team(i int) *client.Team { return w.teams[i/teamNodes] }

// startAll starts the deployments of the nodes with these indexes.
func (w *world) startAll(ctx context.Context, indexes []int, parallel int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, i := range indexes {
		group.Go(func() error { return w.start(ctx, i) })
	}
	return group.Wait()
}

// start starts a deployment, and once more when it is not known whether it was:
// on a busy machine a request may take longer than its connection lasts.
func (w *world) start(ctx context.Context, i int) (err error) {
	const tries = 3
	for range tries {
		err = w.team(i).Start(ctx, w.deployments[i])
		var broken *url.Error
		if !errors.As(err, &broken) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// liveness counts the fleet's nodes by the API's words of their liveness, and
// returns each one's.
func (w *world) liveness(ctx context.Context) (map[string]int, map[string]string, error) {
	counts, words := map[string]int{}, map[string]string{}
	var errs []error
	for _, team := range w.teams {
		var nodes []client.Node
		if err := team.Call(ctx, http.MethodGet, "/api/"+team.Slug+"/nodes", nil, &nodes); err != nil {
			errs = append(errs, err)
		}
		for _, n := range nodes {
			if !w.fleet[n.ID] {
				continue // one that warmed up
			}
			counts[n.Liveness]++
			words[n.ID] = n.Liveness
		}
	}
	return counts, words, errors.Join(errs...)
}
