-- The notary's cursors, and the closing of days in steps that keep neither a reader nor a writer waiting.
set local role affidavit_owner;

-- One cursor per shard from the beginning, so that moving one is always an update of a row that is there.
insert into affidavit.cursors (name, shard, position, day)
  select 'notary', shard, 0, '1970-01-01' from affidavit.shards;

-- Closes a past day: its terms get their index, and the indexes that grew with the day are built again without their
-- gaps; with a Sunday also that of its week's ids. CREATE INDEX lets readers through and keeps out only writers of that
-- day, of which there are none. Dropping what an open day needs is trim_day's: it locks readers out for a moment, and a
-- transaction that has just built a large index must not hold or wait for such a lock.
create function affidavit.close_day(p_day date) returns boolean
  language plpgsql security definer set search_path = affidavit, pg_temp set max_parallel_maintenance_workers = 0 as $$
declare
  v_name text := 'events_' || to_char(p_day, 'YYYYMMDD');
  v_ids text := 'event_ids_' || to_char(p_day - 6, 'YYYYMMDD'); -- of the week that ends with a Sunday
begin
  if p_day >= (clock_timestamp() at time zone 'UTC')::date then
    raise exception 'day % is not over', p_day using errcode = 'AF009';
  end if;
  perform from event_days where day = p_day and closed_at is null for update skip locked;
  if not found then return false; end if;
  execute format('create index %I on %I (tenant, seq) where flags & 1 = 0', v_name || '_overflow', v_name);
  perform index_events(v_name, '');
  if to_regclass(v_ids) is not null then
    execute format('create unique index %I on %I (id) with (fillfactor = 100)', v_ids || '_id', v_ids);
  end if;
  -- Terms that come in one ascending run leave every page of the index half empty, for a full page is split in the
  -- middle. Memory for a part of them at a time makes several runs, each of which fills the gaps of those before.
  perform set_config('maintenance_work_mem', least(pg_size_bytes(current_setting('maintenance_work_mem')),
    greatest(1048576, pg_relation_size(v_name::regclass) / 6)) / 1024 || 'kB', true);
  execute format('create index %I on %I using gin ((terms[2:])) with (fastupdate = off)', v_name || '_terms', v_name);
  execute format('analyze %I', v_name);
  update event_days set closed_at = clock_timestamp() where day = p_day;
  return true;
end $$;

-- Drops the indexes that only an open day needs. Returns whether there were any.
create function affidavit.trim_day(p_day date) returns boolean
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_name text := 'events_' || to_char(p_day, 'YYYYMMDD');
  v_ids text := 'event_ids_' || to_char(p_day - 6, 'YYYYMMDD');
begin
  if not exists (select from event_days where day = p_day and closed_at is not null) then
    raise exception 'day % is not closed', p_day using errcode = 'AF009';
  end if;
  if to_regclass(v_name || '_place_open') is null then return false; end if;
  execute (select 'drop index ' || string_agg(format('%I', v_name || '_' || kind || '_open'), ', ')
    from unnest(array['place', 'actor', 'action', 'request', 'control', 'position']) as kind);
  if to_regclass(v_ids) is not null then execute format('drop index %I', v_ids || '_id_open'); end if;
  return true;
end $$;

-- Past days that are to be closed (closed false) or only trimmed (true). A day may be closed ten minutes after its end,
-- once every follower has left it: then no batch under way can still carry its date, for a batch carries the database's
-- clock and lives for seconds.
create function affidavit.days_due() returns table (day date, closed boolean)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select d.day, d.closed_at is not null from event_days d
    where d.day < ((clock_timestamp() - interval '10 minutes') at time zone 'UTC')::date
      and case when d.closed_at is null then not exists (select from cursors c where c.day <= d.day)
        else to_regclass('events_' || to_char(d.day, 'YYYYMMDD') || '_place_open') is not null end
    order by d.day;
$$;

-- The last day up to which, from today on, every partition is attached, and whether that of tomorrow is.
create function affidavit.partitions_ahead() returns table (until date, tomorrow boolean)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  with attached as (
    select c.relname::text as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent in ('events'::regclass, 'event_ids'::regclass) and not i.inhdetachpending),
  ahead as (
    select day, 'events_' || to_char(day, 'YYYYMMDD') in (table attached)
        and 'event_ids_' || to_char(date_trunc('week', day), 'YYYYMMDD') in (table attached) as there
      from (select (clock_timestamp() at time zone 'UTC')::date + n as day, n from generate_series(0, 60) as n) as days)
  select (select max(day) from ahead a where there and not exists (select from ahead b where b.day < a.day and not b.there)),
    (select there from ahead order by day offset 1 limit 1);
$$;

revoke execute on function affidavit.close_day, affidavit.trim_day, affidavit.days_due, affidavit.partitions_ahead from public;
grant execute on function affidavit.close_day, affidavit.trim_day, affidavit.days_due, affidavit.partitions_ahead to affidavit_retention;

reset role;
