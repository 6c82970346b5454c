-- What agents report of their containers, as one argument of a statement.

-- +goose Up

-- An array of it is unpacked once, where an array for each column is unpacked
-- into a table of its own for each. It does not follow the table: what sends it
-- sends these columns in this order, so that controllers of two releases share
-- a database. A release that adds a column adds another type.
create type reported_container as (
    node_id uuid,
    engine_id text,
    prefix text,
    name text,
    managed boolean,
    deployment_id uuid,
    instance_id uuid,
    release bigint,
    image_name text,
    image_tag text,
    image_digest text,
    command text,
    created_at timestamptz,
    state text,
    reason text,
    exit_code integer,
    health text,
    ports jsonb,
    leftover boolean,
    oom_killed boolean,
    restart_count integer,
    started_at timestamptz,
    finished_at timestamptz
);

-- +goose Down
drop type reported_container;
