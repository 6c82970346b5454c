-- +goose Up

-- Which issuers' tokens can be exchanged for a deploy token: continuous
-- integration that proves by its own identity which pipeline it is.
create table oidc_trusts (
    id            uuid        not null,
    team_id       uuid        not null,
    deployment_id uuid        not null,
    name          text        not null,
    provider      text        not null,
    issuer        text        not null,
    audience      text        not null,
    conditions    jsonb       not null,
    created_at    timestamptz not null,
    created_by    text        not null,
    constraint oidc_trusts_pk primary key (id),
    constraint oidc_trusts_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint oidc_trusts_deployment_fk foreign key (deployment_id) references deployments (id) on delete cascade
);
create unique index oidc_trusts_name_uq on oidc_trusts (team_id, name);
create index oidc_trusts_deployment_idx on oidc_trusts (deployment_id);

-- Each of an issuer's tokens is exchanged once.
create table oidc_exchanges (
    issuer     text        not null,
    token_hash bytea       not null,
    expires_at timestamptz not null,
    constraint oidc_exchanges_pk primary key (issuer, token_hash)
);
create index oidc_exchanges_expires_idx on oidc_exchanges (expires_at);

-- A deployment has one token that people made, and any number of short-lived
-- ones that a trust issued.
alter table deployment_tokens add column trust_id uuid,
    add constraint deployment_tokens_trust_fk foreign key (trust_id) references oidc_trusts (id) on delete cascade;
drop index deployment_tokens_name_uq;
drop index deployment_tokens_deployment_uq;
create unique index deployment_tokens_name_uq on deployment_tokens (team_id, name) where trust_id is null;
create unique index deployment_tokens_deployment_uq on deployment_tokens (deployment_id) where trust_id is null;
create index deployment_tokens_deployment_idx on deployment_tokens (deployment_id);
create index deployment_tokens_trust_idx on deployment_tokens (trust_id) where trust_id is not null;

-- +goose Down
delete from deployment_tokens where trust_id is not null;
drop index deployment_tokens_trust_idx;
drop index deployment_tokens_deployment_idx;
drop index deployment_tokens_name_uq;
drop index deployment_tokens_deployment_uq;
create unique index deployment_tokens_name_uq on deployment_tokens (team_id, name);
create unique index deployment_tokens_deployment_uq on deployment_tokens (deployment_id);
alter table deployment_tokens drop column trust_id;
drop table oidc_exchanges;
drop table oidc_trusts;
