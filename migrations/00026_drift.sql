-- +goose Up
alter table deployments
    add column drift text not null default 'report',
    add constraint deployments_drift_ck check (drift in ('report', 'correct'));

-- +goose Down
alter table deployments
    drop constraint deployments_drift_ck,
    drop column drift;
