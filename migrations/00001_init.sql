-- +goose Up

-- Facts about this database itself.
create table settings (
    key   text not null,
    value text not null,
    constraint settings_pk primary key (key)
);

-- The lineage names this database to the agents: generations count only within it.
insert into settings (key, value) values ('lineage', gen_random_uuid()::text);

create table users (
    id            uuid        not null,
    email         text        not null,
    name          text        not null,
    password_hash text        not null,
    admin         boolean     not null default false,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    last_login_at timestamptz,
    constraint users_pk primary key (id),
    constraint users_email_ck check (email = lower(email))
);
create unique index users_email_uq on users (email);

-- Every token that can be presented by a person or their programs. The token is
-- a signed JWT whose id is the row's; only its hash is kept.
create table access_tokens (
    id         uuid        not null,
    user_id    uuid        not null,
    kind       text        not null,
    name       text        not null,
    hash       bytea       not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    constraint access_tokens_pk primary key (id),
    constraint access_tokens_user_fk foreign key (user_id) references users (id) on delete cascade,
    constraint access_tokens_kind_ck check (kind in ('session', 'personal'))
);
create unique index access_tokens_name_uq on access_tokens (user_id, name) where kind = 'personal';
create index access_tokens_expires_idx on access_tokens (expires_at);

create table teams (
    id         uuid        not null,
    name       text        not null,
    slug       text        not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint teams_pk primary key (id)
);
create unique index teams_name_uq on teams (name);
create unique index teams_slug_uq on teams (slug);

create table team_members (
    team_id   uuid        not null,
    user_id   uuid        not null,
    role      text        not null,
    joined_at timestamptz not null,
    constraint team_members_pk primary key (team_id, user_id),
    constraint team_members_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint team_members_user_fk foreign key (user_id) references users (id) on delete cascade,
    constraint team_members_role_ck check (role in ('owner', 'admin', 'user'))
);
create index team_members_user_idx on team_members (user_id);

create table registries (
    id                uuid        not null,
    team_id           uuid        not null,
    name              text        not null,
    description       text        not null default '',
    icon              text        not null default '',
    type              text        not null,
    url               text        not null,
    api_url           text        not null default '',
    image_name_prefix text        not null default '',
    namespace         text        not null default '',
    username          text        not null default '',
    -- Sealed with a key that is not in the database; empty when there is none.
    password          bytea       not null default '',
    created_at        timestamptz not null,
    created_by        text        not null,
    updated_at        timestamptz not null,
    updated_by        text        not null,
    constraint registries_pk primary key (id),
    constraint registries_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint registries_type_ck check (type in ('v2', 'hub', 'gitlab', 'github', 'google', 'unchecked'))
);
create unique index registries_name_uq on registries (team_id, name);

create table projects (
    id          uuid        not null,
    team_id     uuid        not null,
    name        text        not null,
    description text        not null default '',
    type        text        not null,
    created_at  timestamptz not null,
    created_by  text        not null,
    updated_at  timestamptz not null,
    updated_by  text        not null,
    constraint projects_pk primary key (id),
    constraint projects_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint projects_type_ck check (type in ('versionless', 'versioned'))
);
create unique index projects_name_uq on projects (team_id, name);

create table versions (
    id         uuid        not null,
    project_id uuid        not null,
    parent_id  uuid,
    name       text        not null,
    type       text        not null,
    changelog  text        not null default '',
    is_default boolean     not null default false,
    created_at timestamptz not null,
    created_by text        not null,
    updated_at timestamptz not null,
    updated_by text        not null,
    constraint versions_pk primary key (id),
    constraint versions_project_fk foreign key (project_id) references projects (id) on delete cascade,
    constraint versions_parent_fk foreign key (parent_id) references versions (id) on delete set null,
    constraint versions_type_ck check (type in ('rolling', 'incremental'))
);
create unique index versions_name_uq on versions (project_id, name);
create unique index versions_parent_uq on versions (parent_id);
create unique index versions_default_uq on versions (project_id) where is_default;

create table images (
    id          uuid        not null,
    version_id  uuid        not null,
    registry_id uuid        not null,
    name        text        not null,
    tag         text        not null,
    position    integer     not null,
    config      jsonb       not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    constraint images_pk primary key (id),
    constraint images_version_fk foreign key (version_id) references versions (id) on delete cascade,
    constraint images_registry_fk foreign key (registry_id) references registries (id)
);
create index images_version_idx on images (version_id, position);
create index images_registry_idx on images (registry_id);

create table nodes (
    id          uuid        not null,
    team_id     uuid        not null,
    name        text        not null,
    description text        not null default '',
    icon        text        not null default '',
    type        text        not null,
    -- Rises with every change of what the node should run.
    generation  bigint      not null default 0,
    created_at  timestamptz not null,
    created_by  text        not null,
    updated_at  timestamptz not null,
    updated_by  text        not null,
    constraint nodes_pk primary key (id),
    constraint nodes_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint nodes_type_ck check (type in ('docker', 'k8s'))
);
create unique index nodes_name_uq on nodes (team_id, name);

-- An agent is one identity that served a node; a node has at most one that is
-- not revoked.
create table agents (
    id                    uuid        not null,
    node_id               uuid        not null,
    -- SHA-256 of the public key, DER (SubjectPublicKeyInfo).
    key_hash              bytea       not null,
    certificate_not_after timestamptz not null,
    enrolled_at           timestamptz not null,
    revoked_at            timestamptz,
    -- Fencing token: every write made for the agent names the epoch it holds.
    epoch                 bigint      not null default 0,
    boot_id               text        not null default '',
    status_sequence       bigint      not null default 0,
    version               text        not null default '',
    engine_name           text        not null default '',
    engine_version        text        not null default '',
    os                    text        not null default '',
    architecture          text        not null default '',
    hostname              text        not null default '',
    address               text        not null default '',
    applied_generation    bigint      not null default 0,
    applied_set_hash      text        not null default '',
    refusal               text        not null default '',
    connected             boolean     not null default false,
    connected_at          timestamptz,
    disconnected_at       timestamptz,
    -- True when the agent said good-bye, false when the session just ended.
    said_goodbye          boolean     not null default false,
    containers_seen_at    timestamptz,
    constraint agents_pk primary key (id),
    constraint agents_node_fk foreign key (node_id) references nodes (id) on delete cascade
);
create unique index agents_node_uq on agents (node_id) where revoked_at is null;
create unique index agents_key_hash_uq on agents (key_hash);

-- One generated install script with its one-time token. The script holds the
-- token, so it is sealed, and wiped as soon as the token is used.
create table installations (
    id          uuid        not null,
    node_id     uuid        not null,
    token_hash  bytea       not null,
    script      bytea       not null,
    command     text        not null,
    expires_at  timestamptz not null,
    consumed_at timestamptz,
    agent_id    uuid,
    created_at  timestamptz not null,
    created_by  text        not null,
    constraint installations_pk primary key (id),
    constraint installations_node_fk foreign key (node_id) references nodes (id) on delete cascade,
    constraint installations_agent_fk foreign key (agent_id) references agents (id) on delete set null
);
create unique index installations_token_uq on installations (token_hash);
create index installations_node_idx on installations (node_id);

-- What was last seen on a node; one row a container.
create table containers (
    node_id       uuid    not null,
    engine_id     text    not null,
    prefix        text    not null,
    name          text    not null,
    managed       boolean not null,
    deployment_id uuid,
    instance_id   uuid,
    release       bigint  not null default 0,
    image_name    text    not null,
    image_tag     text    not null,
    image_digest  text    not null,
    command       text    not null,
    created_at    timestamptz not null,
    state         text    not null,
    reason        text    not null,
    exit_code     integer not null default 0,
    health        text    not null default '',
    ports         jsonb   not null,
    constraint containers_pk primary key (node_id, engine_id),
    constraint containers_node_fk foreign key (node_id) references nodes (id) on delete cascade,
    constraint containers_state_ck check (state in ('running', 'waiting', 'exited'))
);

create table node_events (
    id         bigint      not null generated always as identity,
    node_id    uuid        not null,
    event      text        not null,
    data       jsonb       not null,
    created_at timestamptz not null,
    constraint node_events_pk primary key (id),
    constraint node_events_node_fk foreign key (node_id) references nodes (id) on delete cascade
);
create index node_events_node_idx on node_events (node_id, created_at);

create table deployments (
    id          uuid        not null,
    team_id     uuid        not null,
    version_id  uuid        not null,
    node_id     uuid        not null,
    prefix      text        not null,
    note        text        not null default '',
    status      text        not null,
    environment jsonb       not null,
    -- How many releases were started; the number of the latest.
    tries       bigint      not null default 0,
    created_at  timestamptz not null,
    created_by  text        not null,
    updated_at  timestamptz not null,
    updated_by  text        not null,
    constraint deployments_pk primary key (id),
    constraint deployments_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint deployments_version_fk foreign key (version_id) references versions (id) on delete cascade,
    constraint deployments_node_fk foreign key (node_id) references nodes (id),
    constraint deployments_status_ck check (status in ('preparing', 'in-progress', 'successful', 'failed', 'obsolete', 'downgraded'))
);
create index deployments_version_idx on deployments (version_id);
create index deployments_node_idx on deployments (node_id, prefix);
create index deployments_team_idx on deployments (team_id, created_at);

create table instances (
    id            uuid        not null,
    deployment_id uuid        not null,
    image_id      uuid        not null,
    -- Null until the instance says something of its own.
    config        jsonb,
    updated_at    timestamptz not null,
    constraint instances_pk primary key (id),
    constraint instances_deployment_fk foreign key (deployment_id) references deployments (id) on delete cascade,
    constraint instances_image_fk foreign key (image_id) references images (id) on delete cascade
);
create unique index instances_image_uq on instances (deployment_id, image_id);

-- The ledger: what each start of a deployment froze. Never changed but for its
-- outcome.
create table releases (
    id            uuid        not null,
    deployment_id uuid        not null,
    number        bigint      not null,
    spec          jsonb       not null,
    trigger       text        not null,
    created_at    timestamptz not null,
    created_by    text        not null,
    outcome       text        not null default 'pending',
    finished_at   timestamptz,
    failure       jsonb,
    constraint releases_pk primary key (id),
    constraint releases_deployment_fk foreign key (deployment_id) references deployments (id) on delete cascade,
    constraint releases_outcome_ck check (outcome in ('pending', 'in-progress', 'successful', 'failed', 'superseded'))
);
create unique index releases_number_uq on releases (deployment_id, number);

-- What a prefix of a node should run: a release, or nothing any more.
create table assignments (
    node_id       uuid        not null,
    prefix        text        not null,
    generation    bigint      not null,
    deployment_id uuid        not null,
    release_id    uuid,
    -- Which act wants the prefix emptied; set exactly when release_id is not.
    tombstone     text,
    updated_at    timestamptz not null,
    constraint assignments_pk primary key (node_id, prefix),
    constraint assignments_node_fk foreign key (node_id) references nodes (id) on delete cascade,
    constraint assignments_release_fk foreign key (release_id) references releases (id),
    constraint assignments_desired_ck check ((release_id is null) <> (tombstone is null))
);

create table deployment_events (
    id            bigint      not null generated always as identity,
    deployment_id uuid        not null,
    release       bigint      not null,
    type          text        not null,
    level         text        not null,
    status        text        not null default '',
    instance_id   uuid,
    state         text        not null default '',
    reason        text        not null default '',
    lines         jsonb       not null,
    created_at    timestamptz not null,
    constraint deployment_events_pk primary key (id),
    constraint deployment_events_deployment_fk foreign key (deployment_id) references deployments (id) on delete cascade,
    constraint deployment_events_type_ck check (type in ('log', 'deployment-status', 'container-state'))
);
create index deployment_events_deployment_idx on deployment_events (deployment_id, id);

-- One-off acts on a node, in the order they were asked for.
create table commands (
    id          uuid        not null,
    node_id     uuid        not null,
    operation   text        not null,
    prefix      text        not null,
    name        text        not null,
    tail        integer     not null default 0,
    deadline    timestamptz not null,
    created_at  timestamptz not null,
    created_by  text        not null,
    finished_at timestamptz,
    error       text        not null default '',
    error_kind  text        not null default '',
    lines       jsonb,
    constraint commands_pk primary key (id),
    constraint commands_node_fk foreign key (node_id) references nodes (id) on delete cascade,
    constraint commands_operation_ck check (operation in ('start', 'stop', 'restart', 'delete', 'read-logs'))
);
create index commands_pending_idx on commands (node_id, created_at) where finished_at is null;

-- Who did what; written in the transaction of the act, without secrets.
create table audit_log (
    id         bigint      not null generated always as identity,
    team_id    uuid,
    actor_type text        not null,
    actor_id   uuid,
    actor_name text        not null,
    method     text        not null,
    event      text        not null,
    data       jsonb       not null,
    created_at timestamptz not null,
    constraint audit_log_pk primary key (id),
    constraint audit_log_team_fk foreign key (team_id) references teams (id) on delete cascade
);
create index audit_log_team_idx on audit_log (team_id, created_at);

-- +goose Down
drop table audit_log;
drop table commands;
drop table deployment_events;
drop table assignments;
drop table releases;
drop table instances;
drop table deployments;
drop table node_events;
drop table containers;
drop table installations;
drop table agents;
drop table nodes;
drop table images;
drop table versions;
drop table projects;
drop table registries;
drop table team_members;
drop table teams;
drop table access_tokens;
drop table users;
drop table settings;
