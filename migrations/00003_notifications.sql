-- +goose Up

-- Where a team wants to be told what happens.
create table notifications (
    id         uuid        not null,
    team_id    uuid        not null,
    name       text        not null,
    type       text        not null,
    -- A credential: whoever has it can write there.
    url        text        not null,
    active     boolean     not null,
    events     jsonb       not null,
    created_at timestamptz not null,
    created_by text        not null,
    updated_at timestamptz not null,
    updated_by text        not null,
    constraint notifications_pk primary key (id),
    constraint notifications_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint notifications_type_ck check (type in ('discord', 'slack', 'teams', 'rocket', 'mattermost'))
);
create unique index notifications_name_uq on notifications (team_id, name);

-- What is to be told: written in the transaction of the act, and sent later.
create table notification_deliveries (
    id              bigint      not null generated always as identity,
    notification_id uuid        not null,
    event           text        not null,
    message         jsonb       not null,
    attempts        integer     not null default 0,
    -- When it is tried next; a try under way moves it ahead.
    due_at          timestamptz not null,
    created_at      timestamptz not null,
    -- Null while it waits.
    finished_at     timestamptz,
    -- Of the last try; empty for one that arrived.
    error           text        not null default '',
    constraint notification_deliveries_pk primary key (id),
    constraint notification_deliveries_notification_fk foreign key (notification_id) references notifications (id) on delete cascade
);
create index notification_deliveries_due_idx on notification_deliveries (due_at) where finished_at is null;
create index notification_deliveries_notification_idx on notification_deliveries (notification_id);

-- +goose Down
drop table notification_deliveries;
drop table notifications;
