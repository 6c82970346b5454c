-- +goose Up

-- The controllers that run on this database. A replica whose lease has run out
-- is gone: whoever sees that closes its sessions.
create table replicas (
    id          uuid        not null,
    name        text        not null,
    -- Where the other replicas reach it.
    address     text        not null,
    started_at  timestamptz not null,
    -- By the database's clock, which is the same for all.
    lease_until timestamptz not null,
    constraint replicas_pk primary key (id)
);
-- A process that starts takes the place of an earlier one of its name.
create unique index replicas_name_uq on replicas (name);

alter table agents
    -- The replica that holds the session, while connected.
    add column replica_id     uuid,
    -- What the agent of the session can do, separated by spaces.
    add column capabilities   text        not null default '',
    -- When the agent of an open session was last heard of, once it is overdue.
    add column silent_since   timestamptz,
    -- Until when an agent whose session ended is expected right back.
    add column expected_until timestamptz,
    -- Why the agent is sent nothing until somebody readmits it; or empty.
    add column quarantine     text        not null default '',
    add column quarantined_at timestamptz,
    -- How often it came back after its certificate had expired.
    add column recoveries     bigint      not null default 0,
    add column recovered_at   timestamptz,
    -- When and from where a second process last used this identity.
    add column cloned_at      timestamptz,
    add column cloned_address text        not null default '',
    -- The transaction of the last change that an open session must know of.
    add column changed        xid8        not null default pg_current_xact_id();
create index agents_changed_idx on agents (changed);
create index agents_replica_idx on agents (replica_id) where connected;

alter table nodes add column changed xid8 not null default pg_current_xact_id();
create index nodes_changed_idx on nodes (changed);

alter table commands add column issued xid8 not null default pg_current_xact_id();
create index commands_issued_idx on commands (issued) where finished_at is null;

-- Triggers, so that no statement of this or of the neighbouring release can
-- change what a session must know of without the sessions' replica seeing it.
-- +goose StatementBegin
create function mark_changed() returns trigger language plpgsql as $$
begin
    new.changed := pg_current_xact_id();
    return new;
end $$;
-- +goose StatementEnd
create trigger agents_changed before update of epoch, revoked_at, quarantine on agents
    for each row when (old.epoch <> new.epoch or old.revoked_at is distinct from new.revoked_at or old.quarantine <> new.quarantine)
    execute function mark_changed();
create trigger nodes_changed before update of generation on nodes
    for each row when (old.generation <> new.generation) execute function mark_changed();

-- Agents that were deleted with their node, for the sessions they may have had.
create table gone_agents (
    id      uuid        not null,
    gone_at timestamptz not null default now(),
    changed xid8        not null default pg_current_xact_id(),
    constraint gone_agents_pk primary key (id)
);
create index gone_agents_changed_idx on gone_agents (changed);
-- +goose StatementBegin
create function note_gone_agent() returns trigger language plpgsql as $$
begin
    insert into gone_agents (id) values (old.id) on conflict do nothing;
    return null;
end $$;
-- +goose StatementEnd
create trigger agents_gone after delete on agents for each row execute function note_gone_agent();

-- Why an agent of the node was last turned away.
create table node_refusals (
    node_id uuid        not null,
    reason  text        not null,
    message text        not null,
    address text        not null,
    at      timestamptz not null,
    constraint node_refusals_pk primary key (node_id),
    constraint node_refusals_node_fk foreign key (node_id) references nodes (id) on delete cascade
);

-- +goose Down
drop table node_refusals;
drop trigger agents_gone on agents;
drop function note_gone_agent;
drop table gone_agents;
drop trigger nodes_changed on nodes;
drop trigger agents_changed on agents;
drop function mark_changed;
drop index commands_issued_idx;
alter table commands drop column issued;
drop index nodes_changed_idx;
alter table nodes drop column changed;
drop index agents_replica_idx;
drop index agents_changed_idx;
alter table agents
    drop column replica_id, drop column capabilities, drop column silent_since, drop column expected_until,
    drop column quarantine, drop column quarantined_at, drop column recoveries, drop column recovered_at,
    drop column cloned_at, drop column cloned_address, drop column changed;
drop table replicas;
