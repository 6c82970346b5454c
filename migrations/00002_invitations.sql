-- +goose Up

-- People who were asked into a team and have not said yes. Who says yes becomes
-- a member, and the row goes.
create table invitations (
    -- For an address without an account, also the id of the account it makes.
    id         uuid        not null,
    team_id    uuid        not null,
    -- The account that may answer; null until the invited address has one.
    user_id    uuid,
    email      text        not null,
    name       text        not null,
    -- Of the token in the link.
    token_hash bytea       not null,
    declined   boolean     not null default false,
    expires_at timestamptz not null,
    created_at timestamptz not null,
    created_by text        not null,
    constraint invitations_pk primary key (id),
    constraint invitations_team_fk foreign key (team_id) references teams (id) on delete cascade,
    constraint invitations_user_fk foreign key (user_id) references users (id) on delete cascade,
    constraint invitations_email_ck check (email = lower(email))
);
create unique index invitations_email_uq on invitations (team_id, email);
create unique index invitations_token_uq on invitations (token_hash);
create index invitations_user_idx on invitations (user_id);

-- +goose Down
drop table invitations;
