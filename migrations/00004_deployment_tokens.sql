-- +goose Up

-- Tokens that start one deployment, for continuous integration. A token is a
-- signed JWT whose id is the row's; only its hash is kept.
create table deployment_tokens (
    id            uuid        not null,
    team_id       uuid        not null,
    deployment_id uuid        not null,
    name          text        not null,
    hash          bytea       not null,
    created_at    timestamptz not null,
    created_by    text        not null,
    expires_at    timestamptz not null,
    constraint deployment_tokens_pk primary key (id),
    constraint deployment_tokens_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint deployment_tokens_deployment_fk foreign key (deployment_id) references deployments (id) on delete cascade
);
create unique index deployment_tokens_name_uq on deployment_tokens (team_id, name);
create unique index deployment_tokens_deployment_uq on deployment_tokens (deployment_id);

-- +goose Down
drop table deployment_tokens;
