-- +goose Up
-- A prefix that a node's set no longer has while its containers stay. An agent
-- takes that only in a whole set: in a change it has to have been emptied.
alter table forgotten_assignments add column kept boolean not null default false;

-- +goose Down
alter table forgotten_assignments drop column kept;
