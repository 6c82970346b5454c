-- +goose Up

-- What secrets for the agent's node are sealed to; empty until the agent told.
alter table agents add column sealing_key text not null default '';

-- +goose Down
alter table agents drop column sealing_key;
