-- What a node was to run at each generation that its agent has not acknowledged.

-- +goose Up

-- Without it, a database that was put back from a backup could not tell an agent
-- that is behind from one that holds a set of before the backup was put back,
-- once it has counted past that set.
create table offered_sets (
    node_id uuid not null,
    generation bigint not null,
    set_hash text not null,
    constraint offered_sets_pk primary key (node_id, generation),
    constraint offered_sets_node_fk foreign key (node_id) references nodes (id) on delete cascade
);

-- A word of the text that specpb.SetHash hashes.
-- +goose StatementBegin
create function set_word(word text) returns text language sql immutable strict parallel safe as $$
    select octet_length(word)::text || ':' || word
$$;
-- +goose StatementEnd

-- The hash is that of specpb.SetHash; a test compares them. It is '' of a set with
-- a release of before parts were kept: such a set is never missed. The first node
-- of a transaction sees to all of its nodes. No more than a thousand or so are kept
-- for a node that nobody serves.
-- +goose StatementBegin
create function record_offered_sets() returns trigger language plpgsql as $$
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
-- +goose StatementEnd

-- At the commit the set is as it will be offered. As a trigger it also sees what
-- the controllers of the release before this one do during an upgrade.
create constraint trigger nodes_offered after update of generation on nodes
    deferrable initially deferred
    for each row when (old.generation <> new.generation) execute function record_offered_sets();

-- +goose Down
drop trigger nodes_offered on nodes;
drop function record_offered_sets();
drop function set_word(text);
drop table offered_sets;
