-- Updates of nodes' agents: one at a time for a node, and rollouts that take the
-- nodes of a team in waves.

-- +goose Up
alter table commands add column payload jsonb;

create table rollouts (
    id              uuid        not null,
    team_id         uuid        not null,
    to_version      text        not null,
    allow_downgrade boolean     not null default false,
    state           text        not null,
    -- The wave that is under way, from 1.
    wave            integer     not null default 1,
    waves           integer     not null,
    -- Why it stopped.
    error           text        not null default '',
    created_at      timestamptz not null,
    created_by      text        not null,
    finished_at     timestamptz,
    constraint rollouts_pk primary key (id),
    constraint rollouts_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint rollouts_state_ck check (state in ('running', 'successful', 'failed', 'cancelled'))
);
create unique index rollouts_running_uq on rollouts (team_id) where finished_at is null;
create index rollouts_team_idx on rollouts (team_id, created_at desc);

create table rollout_nodes (
    rollout_id uuid    not null,
    node_id    uuid    not null,
    wave       integer not null,
    -- Why the node was left out, or ''.
    skipped    text    not null default '',
    constraint rollout_nodes_pk primary key (rollout_id, node_id),
    constraint rollout_nodes_rollout_fk foreign key (rollout_id) references rollouts (id) on delete cascade,
    constraint rollout_nodes_node_fk foreign key (node_id) references nodes (id) on delete cascade
);
create index rollout_nodes_node_idx on rollout_nodes (node_id);

create table node_updates (
    -- The command's.
    id           uuid        not null,
    node_id      uuid        not null,
    rollout_id   uuid,
    from_version text        not null,
    to_version   text        not null,
    phase        text        not null,
    -- Why it failed; the agent that was there before serves on.
    error        text        not null default '',
    started_at   timestamptz not null,
    started_by   text        not null,
    changed_at   timestamptz not null,
    finished_at  timestamptz,
    constraint node_updates_pk primary key (id),
    constraint node_updates_node_fk foreign key (node_id) references nodes (id) on delete cascade,
    constraint node_updates_rollout_fk foreign key (rollout_id) references rollouts (id) on delete set null,
    constraint node_updates_phase_ck check (phase in ('requested', 'preparing', 'proving', 'taking-over', 'successful', 'failed'))
);
create unique index node_updates_running_uq on node_updates (node_id) where finished_at is null;
create index node_updates_node_idx on node_updates (node_id, started_at desc);
create index node_updates_rollout_idx on node_updates (rollout_id) where rollout_id is not null;

-- +goose Down
drop table node_updates;
drop table rollout_nodes;
drop table rollouts;
alter table commands drop column payload;
