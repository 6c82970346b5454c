package postgres

import (
	"context"
	"database/sql"
	"time"
)

// FindCertificate returns what is kept under a name. NotFound when nothing is.
func (db *DB) FindCertificate(ctx context.Context, name string) ([]byte, error) {
	var row struct{ Content []byte }
	err := db.in(ctx).Table("http_certificates").Select("content").Where("name = ?", name).Take(&row).Error
	return row.Content, mapError(err, "find the certificate")
}

// KeepCertificate keeps something under a name.
func (db *DB) KeepCertificate(ctx context.Context, name string, content []byte, at time.Time) error {
	err := db.in(ctx).Exec(`insert into http_certificates (name, content, updated_at) values (@name, @content, @at)
		on conflict on constraint http_certificates_pk do update set content = @content, updated_at = @at`,
		sql.Named("name", name), sql.Named("content", content), sql.Named("at", at)).Error
	return mapError(err, "keep the certificate")
}

// DropCertificate forgets what is kept under a name.
func (db *DB) DropCertificate(ctx context.Context, name string) error {
	return mapError(db.in(ctx).Exec("delete from http_certificates where name = ?", name).Error, "drop the certificate")
}
