-- Requests that were sent with an Idempotency-Key, so that one that is sent
-- again takes no effect again.

-- +goose Up
create table idempotency_keys (
    caller      text        not null,
    -- SHA-256 of the key.
    key_hash    bytea       not null,
    -- Who carries the request out; changes when another takes over from one that died.
    claim_id    uuid        not null,
    -- Which request it was; sealed, as the body is, since both may hold secrets.
    fingerprint bytea       not null,
    -- Set in the transaction that has the effect.
    carried_out boolean     not null default false,
    lease_until timestamptz not null,
    expires_at  timestamptz not null,
    -- Of the answer; null until there is one.
    status      smallint,
    headers     jsonb,
    body        bytea,
    constraint idempotency_keys_pk primary key (caller, key_hash)
);
create unique index idempotency_keys_claim_uq on idempotency_keys (claim_id);
create index idempotency_keys_expires_idx on idempotency_keys (expires_at);

-- +goose Down
drop table idempotency_keys;
