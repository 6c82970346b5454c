-- What agents report, and which set of assignments each holds.

-- +goose Up
alter table agents
    -- The spool that the agent's facts are numbered in, and the last fact kept.
    add column spool_id text not null default '',
    add column fact_sequence bigint not null default 0,
    -- Digest of the rows in containers. It counts only while containers_hash_at
    -- is containers_seen_at: who writes the rows without it leaves it behind.
    add column containers_hash bytea,
    add column containers_hash_at timestamptz,
    -- Why the node's engine does not answer; '' when it does.
    add column engine_error text not null default '',
    add column engine_error_at timestamptz,
    -- The set that refusal is about, and since when the agent refuses.
    add column refused_generation bigint not null default 0,
    add column refused_at timestamptz,
    -- Why the agent is sent nothing: it holds a set that this database has
    -- never wanted. '' when it does not.
    add column diverged text not null default '',
    add column diverged_at timestamptz,
    add column diverged_lineage text not null default '',
    add column diverged_generation bigint not null default 0,
    -- The lineage whose set an operator decided to replace.
    add column replaces_lineage text not null default '';

alter table containers
    add column leftover boolean not null default false,
    add column oom_killed boolean not null default false,
    add column restart_count integer not null default 0,
    add column started_at timestamptz,
    add column finished_at timestamptz;

alter table assignments
    add column removal_confirmed boolean not null default false;

-- What the spec adds to the hash of a node's set; null in rows of before.
alter table releases
    add column set_part text;

-- Prefixes that went out of a node's set, until its agent holds one without.
create table forgotten_assignments (
    node_id uuid not null,
    prefix text not null,
    generation bigint not null,
    constraint forgotten_assignments_pk primary key (node_id, prefix),
    constraint forgotten_assignments_node_fk foreign key (node_id) references nodes (id) on delete cascade
);

create table container_events (
    id bigint generated always as identity,
    node_id uuid not null,
    agent_id uuid not null,
    spool_id text not null,
    sequence bigint not null,
    type text not null,
    prefix text not null,
    name text not null,
    engine_id text not null,
    deployment_id uuid,
    instance_id uuid,
    release bigint not null default 0,
    exit_code integer not null default 0,
    oom_killed boolean not null default false,
    restart_count integer not null default 0,
    unseen boolean not null default false,
    lost bigint not null default 0,
    lines jsonb not null,
    happened_at timestamptz not null,
    constraint container_events_pk primary key (id),
    constraint container_events_type_ck check (type in ('exit', 'lost')),
    constraint container_events_node_fk foreign key (node_id) references nodes (id) on delete cascade
);
create unique index container_events_sequence_uq on container_events (agent_id, spool_id, sequence);
create index container_events_node_idx on container_events (node_id, id);

alter table commands
    add column engine_id text not null default '',
    add column generation bigint not null default 0,
    add column inspection bytea,
    drop constraint commands_operation_ck,
    add constraint commands_operation_ck check (operation in ('start', 'stop', 'restart', 'delete', 'read-logs', 'inspect', 'update'));
create index commands_deadline_idx on commands (deadline);

-- +goose Down
drop index commands_deadline_idx;
delete from commands where operation in ('inspect', 'update');
alter table commands
    drop constraint commands_operation_ck,
    add constraint commands_operation_ck check (operation in ('start', 'stop', 'restart', 'delete', 'read-logs')),
    drop column inspection,
    drop column generation,
    drop column engine_id;
drop table container_events;
drop table forgotten_assignments;
alter table releases drop column set_part;
alter table assignments drop column removal_confirmed;
alter table containers
    drop column finished_at,
    drop column started_at,
    drop column restart_count,
    drop column oom_killed,
    drop column leftover;
alter table agents
    drop column replaces_lineage,
    drop column diverged_generation,
    drop column diverged_lineage,
    drop column diverged_at,
    drop column diverged,
    drop column refused_at,
    drop column refused_generation,
    drop column engine_error_at,
    drop column engine_error,
    drop column containers_hash_at,
    drop column containers_hash,
    drop column fact_sequence,
    drop column spool_id;
