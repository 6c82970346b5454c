-- +goose Up
-- Why a container ended, where its engine says so: an evicted pod.
alter table container_events add column reason text not null default '';

-- +goose Down
alter table container_events drop column reason;
