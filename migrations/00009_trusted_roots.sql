-- Which private roots each agent said it trusts, so that a root is replaced
-- only when nobody is left behind.

-- +goose Up
alter table agents
    -- SHA-256 of the certificates, hex; empty for an agent that never said.
    add column trusted_roots jsonb not null default '[]';

-- +goose Down
alter table agents drop column trusted_roots;
