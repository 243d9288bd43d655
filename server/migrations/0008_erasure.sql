-- Erasure: the keys of people are destroyed, then what was encrypted under them goes. No event row is touched.
set local role affidavit_owner;

-- Buckets that held a key which was destroyed: they wait for a new bucket key under a new generation.
create table keeper.destroyed_keys (
  number bigint generated always as identity primary key,
  tenant int not null,
  bucket bigint not null,
  at timestamptz not null default clock_timestamp()
);
create index destroyed_keys_tenant on keeper.destroyed_keys (tenant, bucket);

-- Destroys the keys of subjects that an `erase` entry names. The shard's key epoch moves in the same transaction, so
-- nothing is sealed under them afterwards. Entries below p_checked were checked against holds before the entry was
-- sealed; those that arrived since are checked here. Touches no event row. Returns the holds that forbid it, else none.
create function affidavit.erase_subjects(p_trail int, p_control bigint, p_subjects bigint[], p_checked bigint)
  returns table (holds uuid[], key_epoch bigint)
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
#variable_conflict use_column
declare
  v_ids text[] := (string_to_array(announcement(p_trail, p_control, 'erase'), ' '))[2:];
  v_trail trails;
  v_epoch bigint;
  v_holds uuid[];
  v_gone int;
begin
  select * into strict v_trail from trails where number = p_trail;
  if exists (select from unnest(p_subjects) as n left join subjects s on s.number = n and s.tenant = v_trail.tenant
      where s.number is null or replace(s.key_id::text, '-', '') <> all (v_ids)) then
    raise exception 'entry % of trail % names other subjects', p_control, p_trail using errcode = 'AF021';
  end if;
  perform from keeper.buckets where number in (select bucket from keeper.subject_keys where subject = any (p_subjects)) order by number for update;
  update shards s set key_epoch = s.key_epoch + 1 where s.shard = v_trail.shard returning s.key_epoch into v_epoch;
  v_holds := holds_on_subjects(p_trail, p_subjects, p_checked, null, p_control);
  if v_holds <> '{}' then
    return query select v_holds, v_epoch;
    return;
  end if;
  -- Whoever adds a key or a persona to one of them holds its row; afterwards nobody can.
  update subjects set token = gen_random_uuid(), erased_at = clock_timestamp() where number = any (p_subjects) and erased_at is null;
  get diagnostics v_gone = row_count;
  with gone as (delete from keeper.subject_keys where subject = any (p_subjects) returning bucket)
    insert into keeper.destroyed_keys (tenant, bucket) select distinct v_trail.tenant, bucket from gone;
  if v_gone > 0 then
    insert into messages (kind, tenant, trail, seq, data)
      select 'subject.erased', v_trail.tenant, p_trail, p_control,
        jsonb_build_object('key_ids', (select jsonb_agg(replace(key_id::text, '-', '') order by key_id) from subjects where number = any (p_subjects)),
          'subjects', to_jsonb(p_subjects));
  end if;
  return query select '{}'::uuid[], v_epoch;
end $$;

-- Deletes what hangs on erased subjects, so many rows at a time. Returns how many went.
create function affidavit.drop_personas(p_subjects bigint[], p_limit int) returns int
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_erased bigint[];
  v_tokens int;
  v_personas int;
begin
  select array_agg(number) into v_erased from subjects where number = any (p_subjects) and erased_at is not null;
  delete from persona_tokens where ctid = any (array (select ctid from persona_tokens where subject = any (v_erased) limit p_limit));
  get diagnostics v_tokens = row_count;
  if v_tokens = p_limit then return v_tokens; end if;
  delete from personas where ctid = any (array (select ctid from personas where subject = any (v_erased) limit p_limit));
  get diagnostics v_personas = row_count;
  return v_tokens + v_personas;
end $$;

revoke execute on function affidavit.erase_subjects, affidavit.drop_personas from public;
grant execute on function affidavit.erase_subjects, affidavit.drop_personas to affidavit_retention;
grant select, insert, delete on keeper.destroyed_keys to affidavit_keeper;

reset role;
