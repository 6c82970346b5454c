package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/token"
)

type tokenRow struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	Kind      string
	Name      string
	Hash      []byte
	CreatedAt time.Time
	ExpiresAt *time.Time
}

func (*tokenRow) TableName() string { return "access_tokens" }

func (r *tokenRow) fields() []any {
	return []any{&r.ID, &r.UserID, &r.Kind, &r.Name, &r.Hash, &r.CreatedAt, &r.ExpiresAt}
}

const selectIssued = "select id, user_id, kind, name, hash, created_at, expires_at from access_tokens "

func readToken(r *tokenRow) (token.Token, error) {
	return token.Token{
		ID: r.ID, UserID: r.UserID, Kind: token.Kind(r.Kind), Name: r.Name, Hash: r.Hash,
		CreatedAt: r.CreatedAt, ExpiresAt: orZero(r.ExpiresAt),
	}, nil
}

// InsertToken adds a token and sweeps the same user's expired sessions, so that
// they don't pile up.
func (db *DB) InsertToken(ctx context.Context, t token.Token) error {
	err := db.in(ctx).Exec("delete from access_tokens where user_id = ? and kind = 'session' and expires_at < ?",
		t.UserID, t.CreatedAt).Error
	if err != nil {
		return mapError(err, "sweep expired sessions")
	}
	row := tokenRow{
		ID: t.ID, UserID: t.UserID, Kind: string(t.Kind), Name: t.Name, Hash: t.Hash,
		CreatedAt: t.CreatedAt, ExpiresAt: orNull(t.ExpiresAt),
	}
	return mapError(db.in(ctx).Create(&row).Error, "store the token")
}

// FindToken returns the token with this id.
func (db *DB) FindToken(ctx context.Context, id uuid.UUID) (token.Token, error) {
	return readRow(ctx, db, "find the token", readToken, selectIssued+"where id = $1", id)
}

// ListTokens returns a user's tokens of one kind, oldest first.
func (db *DB) ListTokens(ctx context.Context, userID uuid.UUID, kind token.Kind) ([]token.Token, error) {
	query, args := paging(ctx, selectIssued+"where user_id = $1 and kind = $2 order by created_at, id", userID, string(kind))
	return readRows(ctx, db, "list the tokens", readToken, query, args...)
}

// DeleteToken removes a token; it is no error when it is gone already.
func (db *DB) DeleteToken(ctx context.Context, id uuid.UUID) error {
	return mapError(db.in(ctx).Where("id = ?", id).Delete(&tokenRow{}).Error, "delete the token")
}

// convert turns rows into what they stand for.
func convert[Row, T any](rows []Row, to func(Row) T) []T {
	list := make([]T, len(rows))
	for i, row := range rows {
		list[i] = to(row)
	}
	return list
}
