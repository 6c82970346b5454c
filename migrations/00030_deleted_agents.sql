-- +goose Up
-- Agents whose node was deleted, so that each is told when it next asks. An
-- agent that is in no table is not one of these.
create table deleted_agents (
    id uuid not null,
    node_id uuid not null,
    key_hash bytea not null,
    remove_containers boolean not null,
    deleted_at timestamptz not null,
    constraint deleted_agents_pk primary key (id)
);

-- +goose Down
drop table deleted_agents;
