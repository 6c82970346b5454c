-- Controllers remember for moments who presents a token and what they are in a
-- team. Whatever changes that, by whichever way, tells them.

-- +goose Up
-- +goose StatementBegin
create function tell_access_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('fairlead_access', '');
    return null;
end
$$;
-- +goose StatementEnd

create trigger access_tokens_access after delete or update on access_tokens
    for each row execute function tell_access_changed();
create trigger deployment_tokens_access after delete or update on deployment_tokens
    for each row execute function tell_access_changed();
create trigger team_members_access after delete or update on team_members
    for each row execute function tell_access_changed();
create trigger teams_access after delete or update of slug on teams
    for each row execute function tell_access_changed();
create trigger users_access after delete or update of email, name, admin on users
    for each row execute function tell_access_changed();

-- Lists are read in an order that an index has.
drop index deployments_team_idx;
create index deployments_team_idx on deployments (team_id, created_at, id);
drop index audit_log_team_idx;
create index audit_log_team_idx on audit_log (team_id, created_at, id);
drop index node_events_node_idx;
create index node_events_node_idx on node_events (node_id, created_at, id);

-- +goose Down
drop index node_events_node_idx;
create index node_events_node_idx on node_events (node_id, created_at);
drop index audit_log_team_idx;
create index audit_log_team_idx on audit_log (team_id, created_at);
drop index deployments_team_idx;
create index deployments_team_idx on deployments (team_id, created_at);
drop trigger users_access on users;
drop trigger teams_access on teams;
drop trigger team_members_access on team_members;
drop trigger deployment_tokens_access on deployment_tokens;
drop trigger access_tokens_access on access_tokens;
drop function tell_access_changed();
