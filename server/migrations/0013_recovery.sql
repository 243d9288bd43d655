-- Recovery: what a start puts back from epoch objects, and what it could not.
set local role affidavit_owner;

-- One row for each time a database was found behind its objects. Unfinished: the next start goes on.
create table affidavit.recoveries (
  number bigint generated always as identity primary key,
  from_epoch bigint not null,        -- newest epoch of the database then
  to_epoch bigint,                   -- newest epoch that was replayed
  entries bigint not null default 0,
  began_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz
);

-- Entries whose payloads were lost, [first, until); sealed once control `lost` stands in the trail.
create table affidavit.lost (
  trail int not null references affidavit.trails,
  first bigint not null,
  until bigint not null,
  sealed boolean not null default false,
  primary key (trail, first)
);

-- Trails that go on where another ended and have no entry yet: `open` and `continues` are sealed before anything else.
create table affidavit.continued (
  trail int primary key references affidavit.trails,
  continues uuid not null,
  size bigint not null,
  root bytea not null
);

-- There after a database was found behind its Objects, until everything that was removed since is removed again: orders in
-- Objects from this epoch on are to be gone through before anything is served.
create table affidavit.recall_due (
  one boolean primary key default true check (one),
  from_epoch bigint not null
);

-- Which Objects are this database's: the first caller decides.
create function affidavit.settle_objects(p_id text) returns void
  language sql security definer set search_path = affidavit, pg_temp as $$
  insert into settings (name, value) values ('objects', to_jsonb(p_id)) on conflict (name) do nothing;
$$;
revoke execute on function affidavit.settle_objects from public;
grant execute on function affidavit.settle_objects to affidavit_keeper;

-- Subjects by key id, made where the restored database does not know them: their identity went with their payloads.
create function affidavit.replay_subjects(p_tenant int, p_keys uuid[]) returns table (key_id uuid, number bigint)
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
#variable_conflict use_column
begin
  insert into subjects (tenant, token, key_id)
    select p_tenant, gen_random_uuid(), k from unnest(p_keys) as k
    where not exists (select from subjects s where s.tenant = p_tenant and s.key_id = k);
  return query select s.key_id, s.number from subjects s where s.tenant = p_tenant and s.key_id = any (p_keys);
end $$;

-- Puts entries back at the end of a trail, without payloads. AF001: the trail does not end at p_from.
create function affidavit.replay_entries(p_trail int, p_from bigint, p_sealed_at timestamptz[], p_categories smallint[],
  p_commitments bytea[], p_hashes bytea[], p_personal bytea[], p_confidential bytea[], p_operator bytea[], p_controls text[])
  returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_count int := cardinality(p_hashes);
  v_trail trails;
  v_position bigint;
begin
  select * into strict v_trail from trails where number = p_trail;
  update shards set position = position + v_count, sealed_at = greatest(sealed_at, p_sealed_at[v_count])
    where shard = v_trail.shard returning position - v_count into strict v_position;
  update heads set size = p_from + v_count, hash = p_hashes[v_count] where trail = p_trail and size = p_from;
  if not found then raise exception 'trail % does not end at %', p_trail, p_from using errcode = 'AF001'; end if;
  if p_from = 0 then update trails set created_at = least(created_at, p_sealed_at[1]) where number = p_trail; end if;
  perform create_day(day) from (select distinct (s at time zone 'UTC')::date as day from unnest(p_sealed_at) as s) as days;
  insert into events (seq, position, sealed_at, occurred_at, trail, tenant, day, shard, category, outcome, flags,
      facts_commitment, hash, personal, confidential, operator, control, terms)
    select p_from + r.n - 1, v_position + r.n - 1, r.sealed_at, r.sealed_at, p_trail, v_trail.tenant,
      (r.sealed_at at time zone 'UTC')::date, v_trail.shard, r.category, 0, 1, r.commitment, r.hash, r.personal,
      r.confidential, r.operator, r.control, '{}'
    from unnest(p_sealed_at, p_categories, p_commitments, p_hashes, p_personal, p_confidential, p_operator, p_controls)
      with ordinality as r (sealed_at, category, commitment, hash, personal, confidential, operator, control, n);
  update lost set until = p_from + v_count where trail = p_trail and until = p_from and not sealed;
  if not found then insert into lost (trail, first, until) values (p_trail, p_from, p_from + v_count); end if;
end $$;

grant select, insert, update on affidavit.recoveries to affidavit_keeper;
grant select, update on affidavit.lost to affidavit_keeper;
grant select, insert, delete on affidavit.continued to affidavit_keeper;
grant select, insert, update, delete on affidavit.recall_due to affidavit_retention;
-- Hashes and control lines, no content: the keeper opens keys, and is not to read what they open.
grant select (trail, seq, hash, control) on affidavit.events to affidavit_keeper;
grant select on affidavit.heads, affidavit.notarized, affidavit.tiles to affidavit_keeper;
do $$
declare
  t text;
begin
  foreach t in array array['heads', 'events', 'notarized', 'tiles'] loop
    execute format('create policy recovery on affidavit.%I for select to affidavit_keeper using (true)', t);
  end loop;
end $$;
revoke execute on function affidavit.replay_subjects, affidavit.replay_entries from public;
grant execute on function affidavit.replay_subjects, affidavit.replay_entries to affidavit_keeper;

reset role;
