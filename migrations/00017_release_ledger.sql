-- Releases as a ledger: who made each and why, which images it ran, and which
-- of them must not be started again. Plans of what a start would do. What a
-- deployment does when a release fails.

-- +goose Up
alter table releases
    -- What was asked of the node but for tags and digests; null of releases
    -- of an earlier controller.
    add column config_hash text,
    -- What the node resolved the images to, by instance; null until it told.
    add column digests     jsonb,
    add column actor_kind  text        not null default '',
    add column actor_name  text        not null default '',
    -- The number of the release whose content this one has again.
    add column rollback_of bigint,
    -- What was planned before the start, if anybody asked.
    add column plan_hash   text        not null default '',
    add column plan        jsonb,
    -- When the node began with it.
    add column began_at    timestamptz;

-- A release is never rewritten, by no statement of this or of another program:
-- its content is what it was made with, and what ended keeps its end.
-- +goose StatementBegin
create function refuse_release_change() returns trigger language plpgsql as $$
begin
    raise exception 'release % of deployment % is history and is not changed', old.number, old.deployment_id
        using hint = 'rolling back makes a new release; releases go with their deployment';
end $$;
-- +goose StatementEnd
create trigger releases_content_final
    before update of id, deployment_id, number, spec, trigger, created_at, created_by, config_hash,
        actor_kind, actor_name, rollback_of, plan_hash, plan on releases
    for each row when (
        (old.id, old.deployment_id, old.number, old.spec, old.trigger, old.created_at, old.created_by, old.config_hash,
            old.actor_kind, old.actor_name, old.rollback_of, old.plan_hash, old.plan)
        is distinct from
        (new.id, new.deployment_id, new.number, new.spec, new.trigger, new.created_at, new.created_by, new.config_hash,
            new.actor_kind, new.actor_name, new.rollback_of, new.plan_hash, new.plan))
    execute function refuse_release_change();
create trigger releases_outcome_final
    before update of outcome, finished_at, failure, digests, began_at on releases
    for each row when (
        old.outcome not in ('pending', 'in-progress')
        and (old.outcome, old.finished_at, old.failure, old.digests, old.began_at)
            is distinct from (new.outcome, new.finished_at, new.failure, new.digests, new.began_at))
    execute function refuse_release_change();
-- Their deployment takes them along: then this is inside of another trigger.
create trigger releases_kept
    before delete on releases
    for each row when (pg_trigger_depth() = 0)
    execute function refuse_release_change();

-- Releases that must not be started again.
create table release_holds (
    release_id   uuid        not null,
    reason       text        not null,
    held_at      timestamptz not null,
    held_by      text        not null,
    held_by_name text        not null,
    constraint release_holds_pk primary key (release_id),
    constraint release_holds_release_fk foreign key (release_id) references releases (id) on delete cascade
);

alter table deployments
    add column on_failure            text    not null default 'rollback',
    -- 0 leaves it to the agent.
    add column health_window_seconds integer not null default 0,
    add column drain_seconds         integer not null default 0,
    add column parallelism           integer not null default 0,
    add constraint deployments_on_failure_ck check (on_failure in ('rollback', 'keep', 'notify'));

-- What nodes said that a start would do.
create table deployment_plans (
    deployment_id uuid        not null,
    hash          text        not null,
    -- Of what was to be started, tags included.
    content_hash  text        not null,
    plan          jsonb       not null,
    created_at    timestamptz not null,
    created_by    text        not null,
    constraint deployment_plans_pk primary key (deployment_id, hash),
    constraint deployment_plans_deployment_fk foreign key (deployment_id) references deployments (id) on delete cascade
);

alter table commands
    -- What is to be planned, and the answer.
    add column spec jsonb,
    add column plan jsonb,
    drop constraint commands_operation_ck,
    add constraint commands_operation_ck
        check (operation in ('start', 'stop', 'restart', 'delete', 'read-logs', 'inspect', 'update', 'plan'));

-- +goose Down
delete from commands where operation = 'plan';
alter table commands
    drop column spec,
    drop column plan,
    drop constraint commands_operation_ck,
    add constraint commands_operation_ck
        check (operation in ('start', 'stop', 'restart', 'delete', 'read-logs', 'inspect', 'update'));
drop table deployment_plans;
alter table deployments
    drop constraint deployments_on_failure_ck,
    drop column on_failure,
    drop column health_window_seconds,
    drop column drain_seconds,
    drop column parallelism;
drop table release_holds;
drop trigger releases_kept on releases;
drop trigger releases_outcome_final on releases;
drop trigger releases_content_final on releases;
drop function refuse_release_change();
alter table releases
    drop column config_hash,
    drop column digests,
    drop column actor_kind,
    drop column actor_name,
    drop column rollback_of,
    drop column plan_hash,
    drop column plan,
    drop column began_at;
