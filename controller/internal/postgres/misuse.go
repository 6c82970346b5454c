package postgres

import (
	"context"
	"database/sql"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
)

// ListForeign returns those of the places whose deployment is on another node.
func (db *DB) ListForeign(ctx context.Context, places []deployment.Place) ([]deployment.Place, error) {
	nodes := ids(places, func(p deployment.Place) uuid.UUID { return p.NodeID })
	deployments := ids(places, func(p deployment.Place) uuid.UUID { return p.DeploymentID })
	var found []deployment.Place
	err := db.queryRows(ctx, "look for deployments of other nodes", func(rows *sql.Rows) error {
		var p deployment.Place
		err := rows.Scan(&p.NodeID, &p.DeploymentID)
		found = append(found, p)
		return err
	}, `select distinct p.node_id, p.deployment_id from unnest($1::uuid[], $2::uuid[]) as p (node_id, deployment_id)
		join deployments d on d.id = p.deployment_id where d.node_id <> p.node_id`, nodes, deployments)
	return found, err
}

// FindCommandNode returns the node of a command.
func (db *DB) FindCommandNode(ctx context.Context, id uuid.UUID) (uuid.UUID, error) {
	var row struct{ NodeID uuid.UUID }
	err := db.in(ctx).Table("commands").Select("node_id").Where("id = ?", id).Take(&row).Error
	return row.NodeID, mapError(err, "find the command's node")
}
