-- +goose Up

-- A generic receiver checks signatures: the secret it knows, and for a while
-- after a change the one before. Both are sealed by the vault.
alter table notifications add column secret bytea;
alter table notifications add column previous_secret bytea;
alter table notifications add column previous_secret_until timestamptz;
alter table notifications drop constraint notifications_type_ck;
alter table notifications add constraint notifications_type_ck
    check (type in ('discord', 'slack', 'teams', 'rocket', 'mattermost', 'webhook'));

-- What the API and receivers know a delivery by.
alter table notification_deliveries add column public_id uuid not null default gen_random_uuid();
create unique index notification_deliveries_public_uq on notification_deliveries (public_id);
-- While a try is under way; a receiver is sent one message at a time.
alter table notification_deliveries add column leased_until timestamptz;

-- Each try of a delivery.
create table notification_attempts (
    id          bigint      not null generated always as identity,
    delivery_id bigint      not null,
    started_at  timestamptz not null,
    took_ms     integer     not null,
    -- What the receiver answered; 0 for no answer.
    status      integer     not null,
    -- Empty for one that arrived.
    error       text        not null,
    constraint notification_attempts_pk primary key (id),
    constraint notification_attempts_delivery_fk foreign key (delivery_id) references notification_deliveries (id) on delete cascade
);
create index notification_attempts_delivery_idx on notification_attempts (delivery_id);

-- E-mails: written in the transaction of the act, and sent later. Rows outlive
-- what they are about, so that how many were sent can be limited.
create table mails (
    id            bigint      not null generated always as identity,
    -- Who made the controller write.
    sender        text        not null,
    -- Null once the invitation is answered or taken back: then nothing is sent.
    invitation_id uuid,
    recipient     text        not null,
    -- Subject and text, sealed by the vault: they hold a link that opens a
    -- door. Empty once the mail was sent or given up.
    sealed        bytea       not null,
    attempts      integer     not null default 0,
    due_at        timestamptz not null,
    created_at    timestamptz not null,
    -- Null while it waits.
    finished_at   timestamptz,
    -- Of the last try; empty for one that was sent.
    error         text        not null default '',
    constraint mails_pk primary key (id),
    constraint mails_invitation_fk foreign key (invitation_id) references invitations (id) on delete set null
);
create index mails_due_idx on mails (due_at) where finished_at is null;
create index mails_sender_idx on mails (sender, created_at);
create index mails_recipient_idx on mails (recipient, created_at);
create index mails_invitation_idx on mails (invitation_id);

-- Certificates that the controllers got for the REST API by ACME, and the
-- account they got them with. All controllers share them.
create table http_certificates (
    name       text        not null,
    -- Sealed by the vault.
    content    bytea       not null,
    updated_at timestamptz not null,
    constraint http_certificates_pk primary key (name)
);

-- +goose Down
drop table http_certificates;
drop table mails;
drop table notification_attempts;
alter table notification_deliveries drop column leased_until;
alter table notification_deliveries drop column public_id;
delete from notifications where type = 'webhook';
alter table notifications drop constraint notifications_type_ck;
alter table notifications add constraint notifications_type_ck
    check (type in ('discord', 'slack', 'teams', 'rocket', 'mattermost'));
alter table notifications drop column previous_secret_until;
alter table notifications drop column previous_secret;
alter table notifications drop column secret;
