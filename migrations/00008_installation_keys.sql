-- +goose Up

-- Fingerprints of the keys that this database was used with: a controller that
-- comes with others would sign what no agent trusts and could not read what is
-- sealed.
create table installation_keys (
    -- 'root' or 'vault'.
    kind        text        not null,
    -- SHA-256, hex.
    fingerprint text        not null,
    first_used  timestamptz not null,
    constraint installation_keys_pk primary key (kind, fingerprint),
    constraint installation_keys_kind_ck check (kind in ('root', 'vault'))
);

-- +goose Down
drop table installation_keys;
