-- +goose Up

-- Buckets that volumes are filled from. Keys are sealed with one that is not in
-- the database; both are empty when the bucket needs none.
create table storages (
    id          uuid        not null,
    team_id     uuid        not null,
    name        text        not null,
    description text        not null default '',
    icon        text        not null default '',
    url         text        not null,
    access_key  bytea       not null default '',
    secret_key  bytea       not null default '',
    created_at  timestamptz not null,
    created_by  text        not null,
    updated_at  timestamptz not null,
    updated_by  text        not null,
    constraint storages_pk primary key (id),
    constraint storages_team_fk foreign key (team_id) references teams (id) on delete cascade
);
create unique index storages_name_uq on storages (team_id, name);

-- Which configurations use a storage.
create index images_storage_idx on images ((config -> 'storage' ->> 'storageId'))
    where config -> 'storage' ->> 'storageId' is not null;
create index instances_storage_idx on instances ((config -> 'storage' ->> 'storageId'))
    where config -> 'storage' ->> 'storageId' is not null;

-- +goose Down
drop index instances_storage_idx;
drop index images_storage_idx;
drop table storages;
