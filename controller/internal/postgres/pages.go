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

// mostSkipped keeps sums with what a client wants to pass over in their range.
const mostSkipped = 1 << 40

// countSome counts the rows of a query, up to page.Counted behind the page that
// is read of them.
func (db *DB) countSome(ctx context.Context, query *gorm.DB, p page.Page) (int, error) {
	var total int64
	most := min(p.Skip, mostSkipped) + p.Take + page.Counted
	err := db.in(ctx).Table("(?) as counted", query.Select("1").Limit(most)).Count(&total).Error
	return int(total), err
}
