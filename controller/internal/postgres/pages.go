package postgres

import (
	"context"

	"gorm.io/gorm"

	"fairlead.dev/controller/internal/page"
)

// paged makes a query read the part of a list that is wanted. The order of the
// list must tell every two rows apart.
func paged(ctx context.Context, query *gorm.DB) *gorm.DB {
	if p, ok := page.From(ctx); ok {
		return query.Offset(p.Skip).Limit(p.Take)
	}
	return query
}
