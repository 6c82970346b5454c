CREATE TYPE public.reported_container AS (
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
	created_at timestamp with time zone,
	state text,
	reason text,
	exit_code integer,
	health text,
	ports jsonb,
	leftover boolean,
	oom_killed boolean,
	restart_count integer,
	started_at timestamp with time zone,
	finished_at timestamp with time zone
);

CREATE FUNCTION public.mark_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    new.changed := pg_current_xact_id();
    return new;
end $$;

CREATE FUNCTION public.note_gone_agent() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    insert into gone_agents (id) values (old.id) on conflict do nothing;
    return null;
end $$;

CREATE FUNCTION public.record_offered_sets() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    perform from nodes n join offered_sets o on o.node_id = n.id and o.generation = n.generation where n.id = new.id;
    if found then
        return null;
    end if;
    insert into offered_sets (node_id, generation, set_hash)
    select n.id, n.generation, case
        when bool_and(a.node_id is null or a.tombstone is not null or r.set_part is not null) then encode(sha256(convert_to(
            set_word('fairlead-set-1') || set_word(s.value) || set_word(n.generation::text) || coalesce(string_agg(
                set_word('assignment') || set_word(a.prefix) || set_word(a.generation::text) || case
                    when a.tombstone is not null then set_word('tombstone') || set_word(a.deployment_id::text) || set_word(a.tombstone)
                    else r.set_part end,
                '' order by a.prefix collate "C"), ''), 'UTF8')), 'hex')
        else '' end
    from nodes n
    join settings s on s.key = 'lineage'
    left join assignments a on a.node_id = n.id
    left join releases r on r.id = a.release_id
    where n.changed = pg_current_xact_id() and n.generation > 0
    group by n.id, s.value
    on conflict do nothing;
    delete from offered_sets o using nodes n
    where n.changed = pg_current_xact_id() and n.generation % 100 = 0 and o.node_id = n.id and o.generation < n.generation - 1000;
    return null;
end $$;

CREATE FUNCTION public.refuse_release_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'release % of deployment % is history and is not changed', old.number, old.deployment_id
        using hint = 'rolling back makes a new release; releases go with their deployment';
end $$;

CREATE FUNCTION public.set_word(word text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    select octet_length(word)::text || ':' || word
$$;

CREATE FUNCTION public.tell_access_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    perform pg_notify('fairlead_access', '');
    return null;
end
$$;

CREATE TABLE public.access_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT access_tokens_kind_ck CHECK ((kind = ANY (ARRAY['session'::text, 'personal'::text])))
);

CREATE TABLE public.agents (
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    certificate_not_after timestamp with time zone NOT NULL,
    enrolled_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    epoch bigint DEFAULT 0 NOT NULL,
    boot_id text DEFAULT ''::text NOT NULL,
    status_sequence bigint DEFAULT 0 NOT NULL,
    version text DEFAULT ''::text NOT NULL,
    engine_name text DEFAULT ''::text NOT NULL,
    engine_version text DEFAULT ''::text NOT NULL,
    os text DEFAULT ''::text NOT NULL,
    architecture text DEFAULT ''::text NOT NULL,
    hostname text DEFAULT ''::text NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    applied_generation bigint DEFAULT 0 NOT NULL,
    applied_set_hash text DEFAULT ''::text NOT NULL,
    refusal text DEFAULT ''::text NOT NULL,
    connected boolean DEFAULT false NOT NULL,
    connected_at timestamp with time zone,
    disconnected_at timestamp with time zone,
    said_goodbye boolean DEFAULT false NOT NULL,
    containers_seen_at timestamp with time zone,
    replica_id uuid,
    capabilities text DEFAULT ''::text NOT NULL,
    silent_since timestamp with time zone,
    expected_until timestamp with time zone,
    quarantine text DEFAULT ''::text NOT NULL,
    quarantined_at timestamp with time zone,
    recoveries bigint DEFAULT 0 NOT NULL,
    recovered_at timestamp with time zone,
    cloned_at timestamp with time zone,
    cloned_address text DEFAULT ''::text NOT NULL,
    changed xid8 DEFAULT pg_current_xact_id() NOT NULL,
    spool_id text DEFAULT ''::text NOT NULL,
    fact_sequence bigint DEFAULT 0 NOT NULL,
    containers_hash bytea,
    containers_hash_at timestamp with time zone,
    engine_error text DEFAULT ''::text NOT NULL,
    engine_error_at timestamp with time zone,
    refused_generation bigint DEFAULT 0 NOT NULL,
    refused_at timestamp with time zone,
    diverged text DEFAULT ''::text NOT NULL,
    diverged_at timestamp with time zone,
    diverged_lineage text DEFAULT ''::text NOT NULL,
    diverged_generation bigint DEFAULT 0 NOT NULL,
    replaces_lineage text DEFAULT ''::text NOT NULL,
    trusted_roots jsonb DEFAULT '[]'::jsonb NOT NULL,
    sealing_key text DEFAULT ''::text NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.assignments (
    node_id uuid NOT NULL,
    prefix text NOT NULL,
    generation bigint NOT NULL,
    deployment_id uuid NOT NULL,
    release_id uuid,
    tombstone text,
    updated_at timestamp with time zone NOT NULL,
    removal_confirmed boolean DEFAULT false NOT NULL,
    CONSTRAINT assignments_desired_ck CHECK (((release_id IS NULL) <> (tombstone IS NULL)))
);

CREATE TABLE public.audit_log (
    id bigint NOT NULL,
    team_id uuid,
    actor_type text NOT NULL,
    actor_id uuid,
    actor_name text NOT NULL,
    method text NOT NULL,
    event text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE public.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.commands (
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    operation text NOT NULL,
    prefix text NOT NULL,
    name text NOT NULL,
    tail integer DEFAULT 0 NOT NULL,
    deadline timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    finished_at timestamp with time zone,
    error text DEFAULT ''::text NOT NULL,
    error_kind text DEFAULT ''::text NOT NULL,
    lines jsonb,
    issued xid8 DEFAULT pg_current_xact_id() NOT NULL,
    engine_id text DEFAULT ''::text NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    inspection bytea,
    spec jsonb,
    plan jsonb,
    payload jsonb,
    CONSTRAINT commands_operation_ck CHECK ((operation = ANY (ARRAY['start'::text, 'stop'::text, 'restart'::text, 'delete'::text, 'read-logs'::text, 'inspect'::text, 'update'::text, 'plan'::text])))
);

CREATE TABLE public.container_events (
    id bigint NOT NULL,
    node_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    spool_id text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    prefix text NOT NULL,
    name text NOT NULL,
    engine_id text NOT NULL,
    deployment_id uuid,
    instance_id uuid,
    release bigint DEFAULT 0 NOT NULL,
    exit_code integer DEFAULT 0 NOT NULL,
    oom_killed boolean DEFAULT false NOT NULL,
    restart_count integer DEFAULT 0 NOT NULL,
    unseen boolean DEFAULT false NOT NULL,
    lost bigint DEFAULT 0 NOT NULL,
    lines jsonb NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    CONSTRAINT container_events_type_ck CHECK ((type = ANY (ARRAY['exit'::text, 'lost'::text])))
);

ALTER TABLE public.container_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.container_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.containers (
    node_id uuid NOT NULL,
    engine_id text NOT NULL,
    prefix text NOT NULL,
    name text NOT NULL,
    managed boolean NOT NULL,
    deployment_id uuid,
    instance_id uuid,
    release bigint DEFAULT 0 NOT NULL,
    image_name text NOT NULL,
    image_tag text NOT NULL,
    image_digest text NOT NULL,
    command text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    exit_code integer DEFAULT 0 NOT NULL,
    health text DEFAULT ''::text NOT NULL,
    ports jsonb NOT NULL,
    leftover boolean DEFAULT false NOT NULL,
    oom_killed boolean DEFAULT false NOT NULL,
    restart_count integer DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT containers_state_ck CHECK ((state = ANY (ARRAY['running'::text, 'waiting'::text, 'exited'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.deleted_agents (
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    remove_containers boolean NOT NULL,
    deleted_at timestamp with time zone NOT NULL
);

CREATE TABLE public.deployment_events (
    id bigint NOT NULL,
    deployment_id uuid NOT NULL,
    release bigint NOT NULL,
    type text NOT NULL,
    level text NOT NULL,
    status text DEFAULT ''::text NOT NULL,
    instance_id uuid,
    state text DEFAULT ''::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    lines jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT deployment_events_type_ck CHECK ((type = ANY (ARRAY['log'::text, 'deployment-status'::text, 'container-state'::text])))
);

ALTER TABLE public.deployment_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.deployment_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.deployment_plans (
    deployment_id uuid NOT NULL,
    hash text NOT NULL,
    content_hash text NOT NULL,
    plan jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL
);

CREATE TABLE public.deployment_tokens (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    trust_id uuid
);

CREATE TABLE public.deployments (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    version_id uuid NOT NULL,
    node_id uuid NOT NULL,
    prefix text NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    status text NOT NULL,
    environment jsonb NOT NULL,
    tries bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    on_failure text DEFAULT 'rollback'::text NOT NULL,
    health_window_seconds integer DEFAULT 0 NOT NULL,
    drain_seconds integer DEFAULT 0 NOT NULL,
    parallelism integer DEFAULT 0 NOT NULL,
    drift text DEFAULT 'report'::text NOT NULL,
    CONSTRAINT deployments_drift_ck CHECK ((drift = ANY (ARRAY['report'::text, 'correct'::text]))),
    CONSTRAINT deployments_on_failure_ck CHECK ((on_failure = ANY (ARRAY['rollback'::text, 'keep'::text, 'notify'::text]))),
    CONSTRAINT deployments_status_ck CHECK ((status = ANY (ARRAY['preparing'::text, 'in-progress'::text, 'successful'::text, 'failed'::text, 'obsolete'::text, 'downgraded'::text])))
);

CREATE TABLE public.forgotten_assignments (
    node_id uuid NOT NULL,
    prefix text NOT NULL,
    generation bigint NOT NULL,
    kept boolean DEFAULT false NOT NULL
);

CREATE TABLE public.gone_agents (
    id uuid NOT NULL,
    gone_at timestamp with time zone DEFAULT now() NOT NULL,
    changed xid8 DEFAULT pg_current_xact_id() NOT NULL
);

CREATE TABLE public.http_certificates (
    name text NOT NULL,
    content bytea NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.idempotency_keys (
    caller text NOT NULL,
    key_hash bytea NOT NULL,
    claim_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    carried_out boolean DEFAULT false NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    status smallint,
    headers jsonb,
    body bytea
);

CREATE TABLE public.images (
    id uuid NOT NULL,
    version_id uuid NOT NULL,
    registry_id uuid NOT NULL,
    name text NOT NULL,
    tag text NOT NULL,
    "position" integer NOT NULL,
    config jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.installation_keys (
    kind text NOT NULL,
    fingerprint text NOT NULL,
    first_used timestamp with time zone NOT NULL,
    CONSTRAINT installation_keys_kind_ck CHECK ((kind = ANY (ARRAY['root'::text, 'vault'::text])))
);

CREATE TABLE public.installations (
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    script bytea NOT NULL,
    command text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    consumed_at timestamp with time zone,
    agent_id uuid,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL
);

CREATE TABLE public.instances (
    id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    image_id uuid NOT NULL,
    config jsonb,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.invitations (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    user_id uuid,
    email text NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    declined boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT invitations_email_ck CHECK ((email = lower(email)))
);

CREATE TABLE public.mails (
    id bigint NOT NULL,
    sender text NOT NULL,
    invitation_id uuid,
    recipient text NOT NULL,
    sealed bytea NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    error text DEFAULT ''::text NOT NULL
);

ALTER TABLE public.mails ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.mails_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.node_events (
    id bigint NOT NULL,
    node_id uuid NOT NULL,
    event text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL
);

ALTER TABLE public.node_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.node_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.node_refusals (
    node_id uuid NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    address text NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE public.node_updates (
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    rollout_id uuid,
    from_version text NOT NULL,
    to_version text NOT NULL,
    phase text NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    started_by text NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT node_updates_phase_ck CHECK ((phase = ANY (ARRAY['requested'::text, 'preparing'::text, 'proving'::text, 'taking-over'::text, 'successful'::text, 'failed'::text])))
);

CREATE TABLE public.nodes (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    icon text DEFAULT ''::text NOT NULL,
    type text NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    changed xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT nodes_type_ck CHECK ((type = ANY (ARRAY['docker'::text, 'k8s'::text])))
);

CREATE TABLE public.notification_attempts (
    id bigint NOT NULL,
    delivery_id bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    took_ms integer NOT NULL,
    status integer NOT NULL,
    error text NOT NULL
);

ALTER TABLE public.notification_attempts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.notification_attempts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.notification_deliveries (
    id bigint NOT NULL,
    notification_id uuid NOT NULL,
    event text NOT NULL,
    message jsonb NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    error text DEFAULT ''::text NOT NULL,
    public_id uuid DEFAULT gen_random_uuid() NOT NULL,
    leased_until timestamp with time zone
);

ALTER TABLE public.notification_deliveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.notification_deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.notifications (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    url text NOT NULL,
    active boolean NOT NULL,
    events jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    secret bytea,
    previous_secret bytea,
    previous_secret_until timestamp with time zone,
    CONSTRAINT notifications_type_ck CHECK ((type = ANY (ARRAY['discord'::text, 'slack'::text, 'teams'::text, 'rocket'::text, 'mattermost'::text, 'webhook'::text])))
);

CREATE TABLE public.offered_sets (
    node_id uuid NOT NULL,
    generation bigint NOT NULL,
    set_hash text NOT NULL
);

CREATE TABLE public.oidc_exchanges (
    issuer text NOT NULL,
    token_hash bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE public.oidc_trusts (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    name text NOT NULL,
    provider text NOT NULL,
    issuer text NOT NULL,
    audience text NOT NULL,
    conditions jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL
);

CREATE TABLE public.projects (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    type text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    CONSTRAINT projects_type_ck CHECK ((type = ANY (ARRAY['versionless'::text, 'versioned'::text])))
);

CREATE TABLE public.registries (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    icon text DEFAULT ''::text NOT NULL,
    type text NOT NULL,
    url text NOT NULL,
    api_url text DEFAULT ''::text NOT NULL,
    image_name_prefix text DEFAULT ''::text NOT NULL,
    namespace text DEFAULT ''::text NOT NULL,
    username text DEFAULT ''::text NOT NULL,
    password bytea DEFAULT '\x'::bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    CONSTRAINT registries_type_ck CHECK ((type = ANY (ARRAY['v2'::text, 'hub'::text, 'gitlab'::text, 'github'::text, 'google'::text, 'unchecked'::text])))
);

CREATE TABLE public.release_holds (
    release_id uuid NOT NULL,
    reason text NOT NULL,
    held_at timestamp with time zone NOT NULL,
    held_by text NOT NULL,
    held_by_name text NOT NULL
);

CREATE TABLE public.releases (
    id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    number bigint NOT NULL,
    spec jsonb NOT NULL,
    trigger text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    outcome text DEFAULT 'pending'::text NOT NULL,
    finished_at timestamp with time zone,
    failure jsonb,
    set_part text,
    config_hash text,
    digests jsonb,
    actor_kind text DEFAULT ''::text NOT NULL,
    actor_name text DEFAULT ''::text NOT NULL,
    rollback_of bigint,
    plan_hash text DEFAULT ''::text NOT NULL,
    plan jsonb,
    began_at timestamp with time zone,
    wire bytea,
    CONSTRAINT releases_outcome_ck CHECK ((outcome = ANY (ARRAY['pending'::text, 'in-progress'::text, 'successful'::text, 'failed'::text, 'superseded'::text])))
);

CREATE TABLE public.replicas (
    id uuid NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    lease_until timestamp with time zone NOT NULL
);

CREATE TABLE public.rollout_nodes (
    rollout_id uuid NOT NULL,
    node_id uuid NOT NULL,
    wave integer NOT NULL,
    skipped text DEFAULT ''::text NOT NULL
);

CREATE TABLE public.rollouts (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    to_version text NOT NULL,
    allow_downgrade boolean DEFAULT false NOT NULL,
    state text NOT NULL,
    wave integer DEFAULT 1 NOT NULL,
    waves integer NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT rollouts_state_ck CHECK ((state = ANY (ARRAY['running'::text, 'successful'::text, 'failed'::text, 'cancelled'::text])))
);

CREATE TABLE public.settings (
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.storages (
    id uuid NOT NULL,
    team_id uuid NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    icon text DEFAULT ''::text NOT NULL,
    url text NOT NULL,
    access_key bytea DEFAULT '\x'::bytea NOT NULL,
    secret_key bytea DEFAULT '\x'::bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL
);

CREATE TABLE public.team_members (
    team_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    joined_at timestamp with time zone NOT NULL,
    CONSTRAINT team_members_role_ck CHECK ((role = ANY (ARRAY['owner'::text, 'admin'::text, 'user'::text])))
);

CREATE TABLE public.teams (
    id uuid NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.users (
    id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    password_hash text NOT NULL,
    admin boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    last_login_at timestamp with time zone,
    CONSTRAINT users_email_ck CHECK ((email = lower(email)))
);

CREATE TABLE public.versions (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    parent_id uuid,
    name text NOT NULL,
    type text NOT NULL,
    changelog text DEFAULT ''::text NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    CONSTRAINT versions_type_ck CHECK ((type = ANY (ARRAY['rolling'::text, 'incremental'::text])))
);

ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.agents
    ADD CONSTRAINT agents_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.assignments
    ADD CONSTRAINT assignments_pk PRIMARY KEY (node_id, prefix);

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.commands
    ADD CONSTRAINT commands_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.container_events
    ADD CONSTRAINT container_events_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.containers
    ADD CONSTRAINT containers_pk PRIMARY KEY (node_id, engine_id);

ALTER TABLE ONLY public.deleted_agents
    ADD CONSTRAINT deleted_agents_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.deployment_events
    ADD CONSTRAINT deployment_events_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.deployment_plans
    ADD CONSTRAINT deployment_plans_pk PRIMARY KEY (deployment_id, hash);

ALTER TABLE ONLY public.deployment_tokens
    ADD CONSTRAINT deployment_tokens_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.forgotten_assignments
    ADD CONSTRAINT forgotten_assignments_pk PRIMARY KEY (node_id, prefix);

ALTER TABLE ONLY public.gone_agents
    ADD CONSTRAINT gone_agents_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.http_certificates
    ADD CONSTRAINT http_certificates_pk PRIMARY KEY (name);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pk PRIMARY KEY (caller, key_hash);

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.installation_keys
    ADD CONSTRAINT installation_keys_pk PRIMARY KEY (kind, fingerprint);

ALTER TABLE ONLY public.installations
    ADD CONSTRAINT installations_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.node_events
    ADD CONSTRAINT node_events_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.node_refusals
    ADD CONSTRAINT node_refusals_pk PRIMARY KEY (node_id);

ALTER TABLE ONLY public.node_updates
    ADD CONSTRAINT node_updates_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.notification_attempts
    ADD CONSTRAINT notification_attempts_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.notification_deliveries
    ADD CONSTRAINT notification_deliveries_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.offered_sets
    ADD CONSTRAINT offered_sets_pk PRIMARY KEY (node_id, generation);

ALTER TABLE ONLY public.oidc_exchanges
    ADD CONSTRAINT oidc_exchanges_pk PRIMARY KEY (issuer, token_hash);

ALTER TABLE ONLY public.oidc_trusts
    ADD CONSTRAINT oidc_trusts_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.registries
    ADD CONSTRAINT registries_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.release_holds
    ADD CONSTRAINT release_holds_pk PRIMARY KEY (release_id);

ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT replicas_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.rollout_nodes
    ADD CONSTRAINT rollout_nodes_pk PRIMARY KEY (rollout_id, node_id);

ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT rollouts_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.settings
    ADD CONSTRAINT settings_pk PRIMARY KEY (key);

ALTER TABLE ONLY public.storages
    ADD CONSTRAINT storages_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.team_members
    ADD CONSTRAINT team_members_pk PRIMARY KEY (team_id, user_id);

ALTER TABLE ONLY public.teams
    ADD CONSTRAINT teams_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pk PRIMARY KEY (id);

ALTER TABLE ONLY public.versions
    ADD CONSTRAINT versions_pk PRIMARY KEY (id);

CREATE INDEX access_tokens_expires_idx ON public.access_tokens USING btree (expires_at);

CREATE UNIQUE INDEX access_tokens_name_uq ON public.access_tokens USING btree (user_id, name) WHERE (kind = 'personal'::text);

CREATE INDEX agents_changed_idx ON public.agents USING btree (changed);

CREATE UNIQUE INDEX agents_key_hash_uq ON public.agents USING btree (key_hash);

CREATE UNIQUE INDEX agents_node_uq ON public.agents USING btree (node_id) WHERE (revoked_at IS NULL);

CREATE INDEX agents_replica_idx ON public.agents USING btree (replica_id) WHERE connected;

CREATE INDEX audit_log_team_idx ON public.audit_log USING btree (team_id, created_at, id);

CREATE INDEX commands_deadline_idx ON public.commands USING btree (deadline);

CREATE INDEX commands_issued_idx ON public.commands USING btree (issued) WHERE (finished_at IS NULL);

CREATE INDEX commands_pending_idx ON public.commands USING btree (node_id, created_at) WHERE (finished_at IS NULL);

CREATE INDEX container_events_node_idx ON public.container_events USING btree (node_id, id);

CREATE UNIQUE INDEX container_events_sequence_uq ON public.container_events USING btree (agent_id, spool_id, sequence);

CREATE INDEX deployment_events_deployment_idx ON public.deployment_events USING btree (deployment_id, id);

CREATE INDEX deployment_tokens_deployment_idx ON public.deployment_tokens USING btree (deployment_id);

CREATE UNIQUE INDEX deployment_tokens_deployment_uq ON public.deployment_tokens USING btree (deployment_id) WHERE (trust_id IS NULL);

CREATE UNIQUE INDEX deployment_tokens_name_uq ON public.deployment_tokens USING btree (team_id, name) WHERE (trust_id IS NULL);

CREATE INDEX deployment_tokens_trust_idx ON public.deployment_tokens USING btree (trust_id) WHERE (trust_id IS NOT NULL);

CREATE INDEX deployments_node_idx ON public.deployments USING btree (node_id, prefix);

CREATE INDEX deployments_team_idx ON public.deployments USING btree (team_id, created_at, id);

CREATE INDEX deployments_version_idx ON public.deployments USING btree (version_id);

CREATE INDEX gone_agents_changed_idx ON public.gone_agents USING btree (changed);

CREATE UNIQUE INDEX idempotency_keys_claim_uq ON public.idempotency_keys USING btree (claim_id);

CREATE INDEX idempotency_keys_expires_idx ON public.idempotency_keys USING btree (expires_at);

CREATE INDEX images_registry_idx ON public.images USING btree (registry_id);

CREATE INDEX images_storage_idx ON public.images USING btree ((((config -> 'storage'::text) ->> 'storageId'::text))) WHERE (((config -> 'storage'::text) ->> 'storageId'::text) IS NOT NULL);

CREATE INDEX images_version_idx ON public.images USING btree (version_id, "position");

CREATE INDEX installations_node_idx ON public.installations USING btree (node_id);

CREATE UNIQUE INDEX installations_token_uq ON public.installations USING btree (token_hash);

CREATE UNIQUE INDEX instances_image_uq ON public.instances USING btree (deployment_id, image_id);

CREATE INDEX instances_storage_idx ON public.instances USING btree ((((config -> 'storage'::text) ->> 'storageId'::text))) WHERE (((config -> 'storage'::text) ->> 'storageId'::text) IS NOT NULL);

CREATE UNIQUE INDEX invitations_email_uq ON public.invitations USING btree (team_id, email);

CREATE UNIQUE INDEX invitations_token_uq ON public.invitations USING btree (token_hash);

CREATE INDEX invitations_user_idx ON public.invitations USING btree (user_id);

CREATE INDEX mails_due_idx ON public.mails USING btree (due_at) WHERE (finished_at IS NULL);

CREATE INDEX mails_invitation_idx ON public.mails USING btree (invitation_id);

CREATE INDEX mails_recipient_idx ON public.mails USING btree (recipient, created_at);

CREATE INDEX mails_sender_idx ON public.mails USING btree (sender, created_at);

CREATE INDEX node_events_node_idx ON public.node_events USING btree (node_id, created_at, id);

CREATE INDEX node_updates_node_idx ON public.node_updates USING btree (node_id, started_at DESC);

CREATE INDEX node_updates_rollout_idx ON public.node_updates USING btree (rollout_id) WHERE (rollout_id IS NOT NULL);

CREATE UNIQUE INDEX node_updates_running_uq ON public.node_updates USING btree (node_id) WHERE (finished_at IS NULL);

CREATE INDEX nodes_changed_idx ON public.nodes USING btree (changed);

CREATE UNIQUE INDEX nodes_name_uq ON public.nodes USING btree (team_id, name);

CREATE INDEX notification_attempts_delivery_idx ON public.notification_attempts USING btree (delivery_id);

CREATE INDEX notification_deliveries_due_idx ON public.notification_deliveries USING btree (due_at) WHERE (finished_at IS NULL);

CREATE INDEX notification_deliveries_notification_idx ON public.notification_deliveries USING btree (notification_id);

CREATE UNIQUE INDEX notification_deliveries_public_uq ON public.notification_deliveries USING btree (public_id);

CREATE UNIQUE INDEX notifications_name_uq ON public.notifications USING btree (team_id, name);

CREATE INDEX oidc_exchanges_expires_idx ON public.oidc_exchanges USING btree (expires_at);

CREATE INDEX oidc_trusts_deployment_idx ON public.oidc_trusts USING btree (deployment_id);

CREATE UNIQUE INDEX oidc_trusts_name_uq ON public.oidc_trusts USING btree (team_id, name);

CREATE UNIQUE INDEX projects_name_uq ON public.projects USING btree (team_id, name);

CREATE UNIQUE INDEX registries_name_uq ON public.registries USING btree (team_id, name);

CREATE UNIQUE INDEX releases_number_uq ON public.releases USING btree (deployment_id, number);

CREATE UNIQUE INDEX replicas_name_uq ON public.replicas USING btree (name);

CREATE INDEX rollout_nodes_node_idx ON public.rollout_nodes USING btree (node_id);

CREATE UNIQUE INDEX rollouts_running_uq ON public.rollouts USING btree (team_id) WHERE (finished_at IS NULL);

CREATE INDEX rollouts_team_idx ON public.rollouts USING btree (team_id, created_at DESC);

CREATE UNIQUE INDEX storages_name_uq ON public.storages USING btree (team_id, name);

CREATE INDEX team_members_user_idx ON public.team_members USING btree (user_id);

CREATE UNIQUE INDEX teams_name_uq ON public.teams USING btree (name);

CREATE UNIQUE INDEX teams_slug_uq ON public.teams USING btree (slug);

CREATE UNIQUE INDEX users_email_uq ON public.users USING btree (email);

CREATE UNIQUE INDEX versions_default_uq ON public.versions USING btree (project_id) WHERE is_default;

CREATE UNIQUE INDEX versions_name_uq ON public.versions USING btree (project_id, name);

CREATE UNIQUE INDEX versions_parent_uq ON public.versions USING btree (parent_id);

CREATE TRIGGER access_tokens_access AFTER DELETE OR UPDATE ON public.access_tokens FOR EACH ROW EXECUTE FUNCTION public.tell_access_changed();

CREATE TRIGGER agents_changed BEFORE UPDATE OF epoch, revoked_at, quarantine ON public.agents FOR EACH ROW WHEN (((old.epoch <> new.epoch) OR (old.revoked_at IS DISTINCT FROM new.revoked_at) OR (old.quarantine <> new.quarantine))) EXECUTE FUNCTION public.mark_changed();

CREATE TRIGGER agents_gone AFTER DELETE ON public.agents FOR EACH ROW EXECUTE FUNCTION public.note_gone_agent();

CREATE TRIGGER deployment_tokens_access AFTER DELETE OR UPDATE ON public.deployment_tokens FOR EACH ROW EXECUTE FUNCTION public.tell_access_changed();

CREATE TRIGGER nodes_changed BEFORE UPDATE OF generation ON public.nodes FOR EACH ROW WHEN ((old.generation <> new.generation)) EXECUTE FUNCTION public.mark_changed();

CREATE CONSTRAINT TRIGGER nodes_offered AFTER UPDATE OF generation ON public.nodes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.generation <> new.generation)) EXECUTE FUNCTION public.record_offered_sets();

CREATE TRIGGER releases_content_final BEFORE UPDATE OF id, deployment_id, number, spec, trigger, created_at, created_by, config_hash, actor_kind, actor_name, rollback_of, plan_hash, plan ON public.releases FOR EACH ROW WHEN ((((((((((((((old.id IS DISTINCT FROM new.id) OR (old.deployment_id IS DISTINCT FROM new.deployment_id)) OR (old.number IS DISTINCT FROM new.number)) OR (old.spec IS DISTINCT FROM new.spec)) OR (old.trigger IS DISTINCT FROM new.trigger)) OR (old.created_at IS DISTINCT FROM new.created_at)) OR (old.created_by IS DISTINCT FROM new.created_by)) OR (old.config_hash IS DISTINCT FROM new.config_hash)) OR (old.actor_kind IS DISTINCT FROM new.actor_kind)) OR (old.actor_name IS DISTINCT FROM new.actor_name)) OR (old.rollback_of IS DISTINCT FROM new.rollback_of)) OR (old.plan_hash IS DISTINCT FROM new.plan_hash)) OR (old.plan IS DISTINCT FROM new.plan))) EXECUTE FUNCTION public.refuse_release_change();

CREATE TRIGGER releases_kept BEFORE DELETE ON public.releases FOR EACH ROW WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION public.refuse_release_change();

CREATE TRIGGER releases_outcome_final BEFORE UPDATE OF outcome, finished_at, failure, digests, began_at ON public.releases FOR EACH ROW WHEN (((old.outcome <> ALL (ARRAY['pending'::text, 'in-progress'::text])) AND (((((old.outcome IS DISTINCT FROM new.outcome) OR (old.finished_at IS DISTINCT FROM new.finished_at)) OR (old.failure IS DISTINCT FROM new.failure)) OR (old.digests IS DISTINCT FROM new.digests)) OR (old.began_at IS DISTINCT FROM new.began_at)))) EXECUTE FUNCTION public.refuse_release_change();

CREATE TRIGGER team_members_access AFTER DELETE OR UPDATE ON public.team_members FOR EACH ROW EXECUTE FUNCTION public.tell_access_changed();

CREATE TRIGGER teams_access AFTER DELETE OR UPDATE OF slug ON public.teams FOR EACH ROW EXECUTE FUNCTION public.tell_access_changed();

CREATE TRIGGER users_access AFTER DELETE OR UPDATE OF email, name, admin ON public.users FOR EACH ROW EXECUTE FUNCTION public.tell_access_changed();

ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_user_fk FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.agents
    ADD CONSTRAINT agents_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.assignments
    ADD CONSTRAINT assignments_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.assignments
    ADD CONSTRAINT assignments_release_fk FOREIGN KEY (release_id) REFERENCES public.releases(id);

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.commands
    ADD CONSTRAINT commands_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.container_events
    ADD CONSTRAINT container_events_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.containers
    ADD CONSTRAINT containers_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployment_events
    ADD CONSTRAINT deployment_events_deployment_fk FOREIGN KEY (deployment_id) REFERENCES public.deployments(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployment_plans
    ADD CONSTRAINT deployment_plans_deployment_fk FOREIGN KEY (deployment_id) REFERENCES public.deployments(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployment_tokens
    ADD CONSTRAINT deployment_tokens_deployment_fk FOREIGN KEY (deployment_id) REFERENCES public.deployments(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployment_tokens
    ADD CONSTRAINT deployment_tokens_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployment_tokens
    ADD CONSTRAINT deployment_tokens_trust_fk FOREIGN KEY (trust_id) REFERENCES public.oidc_trusts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id);

ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_version_fk FOREIGN KEY (version_id) REFERENCES public.versions(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.forgotten_assignments
    ADD CONSTRAINT forgotten_assignments_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_registry_fk FOREIGN KEY (registry_id) REFERENCES public.registries(id);

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_version_fk FOREIGN KEY (version_id) REFERENCES public.versions(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.installations
    ADD CONSTRAINT installations_agent_fk FOREIGN KEY (agent_id) REFERENCES public.agents(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.installations
    ADD CONSTRAINT installations_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_deployment_fk FOREIGN KEY (deployment_id) REFERENCES public.deployments(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_image_fk FOREIGN KEY (image_id) REFERENCES public.images(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_user_fk FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_invitation_fk FOREIGN KEY (invitation_id) REFERENCES public.invitations(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.node_events
    ADD CONSTRAINT node_events_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.node_refusals
    ADD CONSTRAINT node_refusals_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.node_updates
    ADD CONSTRAINT node_updates_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.node_updates
    ADD CONSTRAINT node_updates_rollout_fk FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.notification_attempts
    ADD CONSTRAINT notification_attempts_delivery_fk FOREIGN KEY (delivery_id) REFERENCES public.notification_deliveries(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.notification_deliveries
    ADD CONSTRAINT notification_deliveries_notification_fk FOREIGN KEY (notification_id) REFERENCES public.notifications(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.offered_sets
    ADD CONSTRAINT offered_sets_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.oidc_trusts
    ADD CONSTRAINT oidc_trusts_deployment_fk FOREIGN KEY (deployment_id) REFERENCES public.deployments(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.oidc_trusts
    ADD CONSTRAINT oidc_trusts_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.registries
    ADD CONSTRAINT registries_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.release_holds
    ADD CONSTRAINT release_holds_release_fk FOREIGN KEY (release_id) REFERENCES public.releases(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_deployment_fk FOREIGN KEY (deployment_id) REFERENCES public.deployments(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.rollout_nodes
    ADD CONSTRAINT rollout_nodes_node_fk FOREIGN KEY (node_id) REFERENCES public.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.rollout_nodes
    ADD CONSTRAINT rollout_nodes_rollout_fk FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT rollouts_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.storages
    ADD CONSTRAINT storages_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.team_members
    ADD CONSTRAINT team_members_team_fk FOREIGN KEY (team_id) REFERENCES public.teams(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.team_members
    ADD CONSTRAINT team_members_user_fk FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.versions
    ADD CONSTRAINT versions_parent_fk FOREIGN KEY (parent_id) REFERENCES public.versions(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.versions
    ADD CONSTRAINT versions_project_fk FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE;
