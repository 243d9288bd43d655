-- Forgetting: requests that wait for a second principal, legal holds, and the guarded functions that remove what a sealed
-- control entry says is gone. The trail decides; the tables here only queue and speed up. Each guarded function reads
-- its control entry itself and refuses without it, may be repeated, and leaves nothing half done that a repetition
-- would not finish.
--
-- SQLSTATE  AF021 no control entry says so · AF022 a legal hold covers it
--
-- Locks are taken in one order everywhere: buckets, shards, subjects, then the rows that hang on them.
set local role affidavit_owner;

-- ─── Requests ───────────────────────────────────────────────────────────────────────────────────────────────────
--   waiting ─► approved ─► announced ─► done        rejected: by the second principal, or withdrawn by the first
--                 ▲ └► held                          held: a legal hold covers it; goes on once nothing does
--                 └────┘
create table affidavit.acts (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('erase', 'redact', 'release', 'retention', 'truncate', 'delete')),
  tenant int not null references affidavit.tenants,
  trail int not null references affidavit.trails,
  state text not null default 'waiting' check (state in ('waiting', 'approved', 'held', 'announced', 'done', 'rejected')),
  what jsonb not null,               -- numbers, ids and times, never a personal value
  reason text not null,
  requested_by text not null,        -- id of the API key
  requested_name text not null,
  requested_at timestamptz not null default clock_timestamp(),
  decided_by text,
  decided_name text,
  decided_at timestamptz,
  holds uuid[] not null default '{}', -- those it waits for
  low bigint,                        -- the trail's size before its control entry was sealed: where to look for it
  control bigint,                    -- seq of its control entry
  done_at timestamptz,
  check (state in ('waiting', 'rejected') or decided_by <> requested_by)
);
create index acts_open on affidavit.acts (state, decided_at) where state in ('waiting', 'approved', 'held', 'announced');
create index acts_tenant on affidavit.acts (tenant, requested_at desc, id);

create table affidavit.holds (
  id uuid primary key,
  tenant int not null references affidavit.tenants,
  trail int not null references affidavit.trails,
  scope text not null check (scope in ('trail', 'entries', 'subjects')),
  low bigint,                        -- entries [low, high)
  high bigint,
  subjects bigint[] not null default '{}',
  seq bigint not null,               -- its control entry
  placed_at timestamptz not null,
  released bigint,                   -- seq of the entry that released it
  released_at timestamptz
);
create index holds_trail on affidavit.holds (trail);

-- How far the removal that a `prune` entry announced has come: entries below `next` are done.
create table affidavit.prunes (
  trail int not null references affidavit.trails,
  control bigint not null,
  next bigint not null,
  before bigint not null,
  primary key (trail, control)
);

-- When retention was last applied to a tenant, and whether a hold kept something that was due.
create table affidavit.retention_visits (
  tenant int primary key references affidavit.tenants,
  day date not null,
  held boolean not null default false
);

-- There after a database was found behind its Objects, until everything that was removed since is removed again: orders in
-- Objects from this epoch on are to be gone through before anything is served.
create table affidavit.recall_due (
  one boolean primary key default true check (one),
  from_epoch bigint not null
);

-- What later stages must hear of (streams to customers, caches, archives); never deleted before they read it.
create table affidavit.messages (
  number bigint generated always as identity primary key,
  kind text not null check (kind in ('subject.erased', 'payload.removed', 'tenant.deleted')),
  tenant int not null,
  trail int not null,
  seq bigint not null,               -- the control entry
  data jsonb not null,
  at timestamptz not null default clock_timestamp()
);

-- ─── Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- Newest generation ever used for a tenant; `current` wraps new buckets.
alter table keeper.generations add column newest int not null default 0;

-- The generation at which a bucket got the key it has; 0 with its making.
alter table keeper.buckets add column renewed int not null default 0;

-- Buckets that held a key which was destroyed: they wait for a new bucket key under a new generation.
create table keeper.destroyed_keys (
  number bigint generated always as identity primary key,
  tenant int not null,
  bucket bigint not null,
  at timestamptz not null default clock_timestamp()
);
create index destroyed_keys_tenant on keeper.destroyed_keys (tenant, bucket);

-- The one rotation of a tenant's subject-wrap key that is under way.
create table keeper.rotations (
  tenant int primary key,
  next int not null,
  retiring int[] not null,
  started_at timestamptz not null default clock_timestamp()
);
create index buckets_generation on keeper.buckets (tenant, generation);
create index subject_keys_bucket on keeper.subject_keys (bucket);

-- ─── What an entry says ─────────────────────────────────────────────────────────────────────────────────────────
-- The control line at a place of a trail, if it is of this kind.
create function affidavit.announcement(p_trail int, p_seq bigint, p_kind text) returns text
  language plpgsql stable security definer set search_path = affidavit, pg_temp as $$
declare
  v_control text;
begin
  select control into v_control from events where trail = p_trail and seq = p_seq;
  if v_control is null or split_part(v_control, ' ', 1) <> p_kind then
    raise exception 'entry % of trail % is no % entry', p_seq, p_trail, p_kind using errcode = 'AF021';
  end if;
  return v_control;
end $$;

-- Control entries of a trail from a seq on, in order.
create function affidavit.control_entries(p_trail int, p_from bigint) returns table (seq bigint, sealed_at timestamptz, control text)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select e.seq, e.sealed_at, e.control from events e where e.trail = p_trail and e.seq >= p_from and e.control is not null order by e.seq;
$$;

-- Whether a personal column has a line of one of these subjects (8 bytes of each 48).
create function affidavit.has_line(p_personal bytea, p_subjects bigint[]) returns boolean
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select exists (select from generate_series(0, length(p_personal) / 48 - 1) as n
    where ('x' || encode(substring(p_personal from n * 48 + 1 for 8), 'hex'))::bit(64)::bigint = any (p_subjects));
$$;

-- A personal column without the numbers of its personas: what is left is committed to by the entry.
create function affidavit.without_personas(p_personal bytea) returns bytea
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select string_agg(overlay(substring(p_personal from n * 48 + 1 for 48) placing '\x0000000000000000'::bytea from 9 for 8), ''::bytea order by n)
    from generate_series(0, length(p_personal) / 48 - 1) as n;
$$;

-- Leaf hashes of entries, by which a later start knows whether a number still means the same entry.
create function affidavit.leaf_hashes(p_trail int, p_seqs bigint[]) returns table (seq bigint, hash bytea)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select s, coalesce((select e.hash from events e where e.trail = p_trail and e.seq = s),
      (select substring(t.hashes from (s % 256 * 32)::int + 1 for 32) from tiles t
        where t.trail = p_trail and t.level = 0 and t.index = s / 256))
    from unnest(p_seqs) as s
    where s < (select size from heads where trail = p_trail);
$$;

-- ─── Legal holds ────────────────────────────────────────────────────────────────────────────────────────────────
-- Taken by whoever seals a hold, a release or something that a hold may forbid, from its check until its entry is sealed.
create function affidavit.lock_forgetting(p_trail int) returns void
  language sql security definer set search_path = affidavit, pg_temp as $$
  select pg_advisory_xact_lock(hashtext('affidavit.forget'), p_trail);
$$;

create function affidavit.place_hold(p_trail int, p_control bigint) returns uuid
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  w text[] := string_to_array(announcement(p_trail, p_control, 'hold'), ' ');
  v_tenant int;
begin
  select tenant into strict v_tenant from trails where number = p_trail;
  insert into holds (id, tenant, trail, scope, low, high, subjects, seq, placed_at)
    select w[2]::uuid, v_tenant, p_trail, w[3],
      case when w[3] = 'entries' then w[4]::bigint end, case when w[3] = 'entries' then w[5]::bigint end,
      case when w[3] = 'subjects' then
        coalesce((select array_agg(number) from subjects where tenant = v_tenant and key_id = any (w[4:]::uuid[])), '{}') else '{}' end,
      p_control, (select sealed_at from events where trail = p_trail and seq = p_control)
    on conflict (id) do nothing;
  return w[2]::uuid;
end $$;

create function affidavit.release_hold(p_trail int, p_control bigint) returns uuid
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  w text[] := string_to_array(announcement(p_trail, p_control, 'release'), ' ');
begin
  update holds set released = p_control, released_at = (select sealed_at from events where trail = p_trail and seq = p_control)
    where id = w[2]::uuid and trail = p_trail and released is null;
  return w[2]::uuid;
end $$;

-- Whether a hold was in force when the entry at p_at was sealed (now, if null): what a verifier asks, too.
create function affidavit.was_in_force(p_hold affidavit.holds, p_at bigint) returns boolean
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select case when p_at is null then p_hold.released is null
    else p_hold.seq < p_at and (p_hold.released is null or p_hold.released > p_at) end;
$$;

-- Holds in force at p_at that cover an entry of [p_low, p_high) with a personal line of one of these subjects. Exact,
-- and so slow where a hold on others makes it read entries: forgetting may wait, evidence may not be lost.
create function affidavit.holds_on_subjects(p_trail int, p_subjects bigint[], p_low bigint, p_high bigint, p_at bigint) returns uuid[]
  language plpgsql stable security definer set search_path = affidavit, pg_temp as $$
declare
  h holds;
  v_holds uuid[] := '{}';
  v_low bigint;
  v_high bigint;
begin
  for h in select * from holds x where x.trail = p_trail and was_in_force(x, p_at) order by seq loop
    v_low := greatest(p_low, coalesce(h.low, 0));
    v_high := least(coalesce(p_high, 9223372036854775807), coalesce(h.high, 9223372036854775807));
    if h.scope = 'trail' or h.subjects && p_subjects or (v_low < v_high and exists (
      select from events e where e.trail = p_trail and e.seq >= v_low and e.seq < v_high and e.personal is not null
        and has_line(e.personal, p_subjects) and (h.scope = 'entries' or has_line(e.personal, h.subjects)))) then
      v_holds := v_holds || h.id;
    end if;
  end loop;
  return v_holds;
end $$;

-- Whether a hold in force at p_at covers an entry.
create function affidavit.is_held(p_trail int, p_seq bigint, p_personal bytea, p_at bigint) returns boolean
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select exists (select from holds h where h.trail = p_trail and was_in_force(h, p_at) and (h.scope = 'trail'
    or (h.scope = 'entries' and p_seq >= h.low and p_seq < h.high)
    or (h.scope = 'subjects' and p_personal is not null and has_line(p_personal, h.subjects))));
$$;

-- Holds in force at p_at that cover one of these entries; with null for all entries, all of them.
create function affidavit.holds_on_entries(p_trail int, p_seqs bigint[], p_at bigint) returns uuid[]
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select coalesce(array_agg(h.id order by h.seq), '{}') from holds h where h.trail = p_trail and was_in_force(h, p_at)
    and (p_seqs is null or h.scope = 'trail'
    or (h.scope = 'entries' and exists (select from unnest(p_seqs) s where s >= h.low and s < h.high))
    or (h.scope = 'subjects' and exists (select from events e where e.trail = p_trail and e.seq = any (p_seqs)
      and e.personal is not null and has_line(e.personal, h.subjects))));
$$;

-- ─── Erasure ────────────────────────────────────────────────────────────────────────────────────────────────────
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

-- ─── Payloads ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Replaces the refusal of every change: an announced removal may empty the columns of the payload, and those alone.
create or replace function affidavit.refuse_change() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and current_setting('affidavit.guarded', true) = 'removal' and current_user = 'affidavit_owner'
    and (new.seq, new.position, new.sealed_at, new.occurred_at, new.trail, new.tenant, new.day, new.shard, new.category, new.outcome,
         new.flags, new.facts_commitment, new.hash, new.action, new.actor, new.control)
      is not distinct from (old.seq, old.position, old.sealed_at, old.occurred_at, old.trail, old.tenant, old.day, old.shard, old.category,
         old.outcome, old.flags, old.facts_commitment, old.hash, old.action, old.actor, old.control)
    and new.facts is null then
    return new;
  end if;
  if tg_op = 'DELETE' and current_setting('affidavit.guarded', true) = 'truncation' and current_user = 'affidavit_owner' then
    return old;
  end if;
  raise exception 'sealed events cannot be changed (% on %)', tg_op, tg_table_name
    using errcode = 'AF009', hint = 'Payloads are removed by affidavit.redact and affidavit.prune, after their control entry.';
end $$;

-- Empties the payload of entries [p_low, p_high) of a trail, as the entry at p_control says: what is left is what they
-- commit to. With a category only its events sealed until p_until, without those that were under a hold; else all.
create function affidavit.remove_payload(p_trail int, p_control bigint, p_low bigint, p_high bigint, p_category smallint, p_until timestamptz)
  returns bigint
  language plpgsql set search_path = affidavit, pg_temp as $$
declare
  v_removed bigint;
begin
  perform set_config('affidavit.guarded', 'removal', true);
  update events e set facts = null, facts_salt = null, terms = '{}',
      personal = without_personas(e.personal), confidential = substring(e.confidential for 32), operator = substring(e.operator for 32)
    where e.trail = p_trail and e.seq >= p_low and e.seq < p_high and e.facts is not null
      and (p_category is null or (e.control is null and e.category = p_category and e.sealed_at <= p_until
        and not is_held(p_trail, e.seq, e.personal, p_control)));
  get diagnostics v_removed = row_count;
  perform set_config('affidavit.guarded', '', true);
  return v_removed;
end $$;

-- Removes the payloads that a `redact` entry names. AF022 if a hold covers one.
create function affidavit.redact(p_trail int, p_control bigint) returns bigint
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_seqs bigint[] := (string_to_array(announcement(p_trail, p_control, 'redact'), ' '))[2:]::bigint[];
  v_removed bigint := 0;
  v_seq bigint;
begin
  if holds_on_entries(p_trail, v_seqs, p_control) <> '{}' then
    raise exception 'a legal hold covers an entry that % of trail % redacts', p_control, p_trail using errcode = 'AF022';
  end if;
  foreach v_seq in array v_seqs loop
    v_removed := v_removed + remove_payload(p_trail, p_control, v_seq, v_seq + 1, null, null);
  end loop;
  return v_removed;
end $$;

-- Removes the next payloads, of so many entries, that a `prune` entry names, without those that were under a hold. The
-- caller says which retention was in force when it was sealed: entries from p_from[n] on (to the next one) are due if
-- they were sealed until p_until[n]; null: kept for good. It begins at p_start. Returns how far it has come: null when it is done.
create function affidavit.prune(p_trail int, p_control bigint, p_start bigint, p_from bigint[], p_until timestamptz[], p_entries int)
  returns bigint
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  w text[] := string_to_array(announcement(p_trail, p_control, 'prune'), ' ');
  v_category int := array_position(array['authentication', 'authorization', 'mutation', 'data_access', 'administration', 'billing'], w[2]);
  v prunes;
  v_next bigint;
begin
  if v_category is null then
    raise exception 'entry % of trail % prunes an unknown category', p_control, p_trail using errcode = 'AF021';
  end if;
  insert into prunes (trail, control, next, before)
    values (p_trail, p_control, least(p_start, w[3]::bigint), w[3]::bigint) on conflict do nothing;
  select * into strict v from prunes where trail = p_trail and control = p_control for update;
  v_next := least(v.next + p_entries, v.before);
  for n in 1 .. cardinality(p_from) loop
    if p_until[n] is not null then
      perform remove_payload(p_trail, p_control, greatest(v.next, p_from[n]), least(v_next, coalesce(p_from[n + 1], v_next)),
        v_category::smallint, p_until[n]);
    end if;
  end loop;
  update prunes set next = v_next where trail = p_trail and control = p_control;
  return case when v_next < v.before then v_next end;
end $$;

-- The first seq of a trail that was sealed after a time; its size if none was. By bisection: sealed_at grows with seq.
create function affidavit.first_sealed_after(p_trail int, p_time timestamptz) returns bigint
  language plpgsql stable security definer set search_path = affidavit, pg_temp as $$
declare
  v_low bigint;
  v_high bigint;
  v_middle bigint;
begin
  select size into strict v_high from heads where trail = p_trail;
  select coalesce(min(first_seq), 0) into v_low from days where trail = p_trail;
  while v_low < v_high loop
    v_middle := (v_low + v_high) / 2;
    if (select sealed_at from events where trail = p_trail and seq = v_middle) > p_time then v_high := v_middle;
    else v_low := v_middle + 1; end if;
  end loop;
  return v_low;
end $$;

-- The seq after the last event of a category (1–6) in [p_low, p_high), sealed until p_until, that still has a payload and
-- is under no hold (null: there is none), and whether there is one under a hold.
create function affidavit.payload_left(p_trail int, p_category smallint, p_low bigint, p_high bigint, p_until timestamptz)
  returns table (before bigint, held boolean)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  with found as materialized (select e.seq, e.personal from events e where e.trail = p_trail and e.seq >= p_low and e.seq < p_high
      and e.control is null and e.category = p_category and e.facts is not null and e.sealed_at <= p_until),
    holding as (select exists (select from holds h where h.trail = p_trail and h.released is null) as any_hold),
    split as (select f.seq, holding.any_hold and is_held(p_trail, f.seq, f.personal, null) as held from found f, holding)
  select max(seq) filter (where not held) + 1, coalesce(bool_or(held), false) from split;
$$;

-- ─── Truncation ─────────────────────────────────────────────────────────────────────────────────────────────────
-- The C2SP minimum index of a trail: entries below it are gone; hash tiles stay, so proofs of later entries do, too.
create table affidavit.minimums (
  trail int primary key references affidavit.trails,
  tenant int not null,
  size bigint not null,
  control bigint not null
);
alter table affidavit.minimums enable row level security;
alter table affidavit.minimums force row level security;
create policy owner_all on affidavit.minimums to affidavit_owner using (true) with check (true);
create policy followers on affidavit.minimums for select to affidavit_notary, affidavit_follower, affidavit_scrub using (true);
create policy tenant on affidavit.minimums for select to affidavit_reader, affidavit_operator_reader using (tenant = affidavit.current_tenant());

-- Deletes entries in [p_low, p_high) below the size that a `truncate` entry names. Nothing above the notarized size
-- may go, and nothing while any hold on the trail is in force (AF022).
create function affidavit.truncate_entries(p_trail int, p_control bigint, p_low bigint, p_high bigint) returns bigint
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_size bigint := split_part(announcement(p_trail, p_control, 'truncate'), ' ', 2)::bigint;
  v_removed bigint;
begin
  if holds_on_entries(p_trail, null, p_control) <> '{}' then
    raise exception 'a legal hold covers entries of trail %', p_trail using errcode = 'AF022';
  end if;
  if not exists (select from notarized where trail = p_trail and size >= v_size) then
    raise exception 'trail % is not notarized up to %', p_trail, v_size using errcode = 'AF021';
  end if;
  insert into minimums (trail, tenant, size, control) select p_trail, t.tenant, v_size, p_control from trails t where t.number = p_trail
    on conflict (trail) do update set size = greatest(minimums.size, excluded.size), control = excluded.control
      where minimums.size < excluded.size;
  perform set_config('affidavit.guarded', 'truncation', true);
  delete from events where trail = p_trail and seq >= p_low and seq < least(p_high, v_size);
  get diagnostics v_removed = row_count;
  perform set_config('affidavit.guarded', '', true);
  delete from days where trail = p_trail and last_seq < least(p_high, v_size);
  update days set first_seq = least(p_high, v_size) where trail = p_trail and first_seq < least(p_high, v_size);
  return v_removed;
end $$;

-- ─── The end of a tenant ────────────────────────────────────────────────────────────────────────────────────────
-- From now on nothing is accepted for it; servers know within ten seconds.
create function affidavit.close_tenant(p_tenant int) returns void
  language sql security definer set search_path = affidavit, pg_temp as $$
  update tenants set state = 'closed', changed_at = clock_timestamp() where number = p_tenant and state <> 'closed';
$$;

-- Destroys every key of a tenant whose trail ends with `close deleted`. Its id, trail and checkpoint stay: the slot is
-- never used again. Returns false while something stands after the entry: then another `close` has to be sealed.
create function affidavit.destroy_tenant(p_trail int, p_control bigint) returns boolean
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_trail trails;
begin
  if announcement(p_trail, p_control, 'close') <> 'close deleted' then
    raise exception 'entry % of trail % deletes nobody', p_control, p_trail using errcode = 'AF021';
  end if;
  select * into strict v_trail from trails where number = p_trail;
  if holds_on_entries(p_trail, null, p_control) <> '{}' then
    raise exception 'a legal hold covers the tenant' using errcode = 'AF022';
  end if;
  update tenants set state = 'closed', name = null, policy = '{}', changed_at = clock_timestamp() where number = v_trail.tenant;
  update shards set key_epoch = key_epoch + 1 where shard = v_trail.shard;
  if (select size from heads where trail = p_trail) > p_control + 1 then return false; end if;
  if exists (select from keeper.tenant_keys where tenant = v_trail.tenant) then
    insert into messages (kind, tenant, trail, seq, data) values ('tenant.deleted', v_trail.tenant, p_trail, p_control, '{}');
  end if;
  delete from keeper.tenant_keys where tenant = v_trail.tenant;
  delete from keeper.rotations where tenant = v_trail.tenant;
  return true;
end $$;

-- Removes the payloads in [p_low, p_high) of a trail that ends with `close deleted`.
create function affidavit.drop_payload(p_trail int, p_control bigint, p_low bigint, p_high bigint) returns bigint
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
begin
  if announcement(p_trail, p_control, 'close') <> 'close deleted' then
    raise exception 'entry % of trail % deletes nobody', p_control, p_trail using errcode = 'AF021';
  end if;
  return remove_payload(p_trail, p_control, p_low, p_high, null, null);
end $$;

-- Deletes the people of a deleted tenant, so many rows at a time. Returns how many went. Rows of subjects stay: entries
-- name them by ids that mean nothing, and their tokens are hashes under a key that is gone.
create function affidavit.drop_people(p_tenant int, p_limit int) returns int
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_gone int;
begin
  if exists (select from keeper.tenant_keys where tenant = p_tenant) then
    raise exception 'tenant % is not deleted', p_tenant using errcode = 'AF021';
  end if;
  delete from persona_tokens where ctid = any (array (select ctid from persona_tokens where tenant = p_tenant limit p_limit));
  get diagnostics v_gone = row_count;
  if v_gone > 0 then return v_gone; end if;
  delete from personas where ctid = any (array (select ctid from personas where tenant = p_tenant limit p_limit));
  get diagnostics v_gone = row_count;
  if v_gone > 0 then return v_gone; end if;
  delete from keeper.subject_keys where subject = any (array (select k.subject from keeper.buckets b
    join keeper.subject_keys k on k.bucket = b.number where b.tenant = p_tenant limit p_limit));
  get diagnostics v_gone = row_count;
  if v_gone > 0 then return v_gone; end if;
  delete from keeper.destroyed_keys where tenant = p_tenant;
  delete from keeper.buckets where tenant = p_tenant;
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;

-- ─── Rotation of the subject-wrap key ───────────────────────────────────────────────────────────────────────────
-- Begins a rotation of a tenant, or returns the one under way; no row when there is nothing to retire. One generation
-- retires at a time: the one given, or with null the oldest above a destroyed key; with −1 none, new buckets only get a
-- generation of their own. So a bucket is touched only if it shares its generation with one that lost a key.
create function keeper.begin_rotation(p_tenant int, p_generation int) returns setof keeper.rotations
  language plpgsql set search_path = keeper, pg_temp as $$
declare
  v_retiring int := p_generation;
  v_next int;
begin
  insert into generations (tenant) values (p_tenant) on conflict do nothing;
  perform from generations where tenant = p_tenant for update;
  if not exists (select from rotations where tenant = p_tenant) then
    if p_generation is null then
      select min(b.generation) into v_retiring from destroyed_keys d join buckets b on b.number = d.bucket where d.tenant = p_tenant;
    elsif p_generation >= 0 and not exists (select from buckets where tenant = p_tenant and generation = p_generation) then
      return;
    end if;
    if v_retiring is null then return; end if;
    update generations set newest = greatest(newest, current) + 1 where tenant = p_tenant returning newest into v_next;
    insert into rotations (tenant, next, retiring) values (p_tenant, v_next, case when v_retiring < 0 then '{}' else array[v_retiring] end);
  end if;
  return query select * from rotations where tenant = p_tenant;
end $$;

-- The number was used before and never comes back (a restored database does not know): takes the one after.
create function keeper.skip_generation(p_tenant int, p_next int) returns void
  language plpgsql set search_path = keeper, pg_temp as $$
begin
  update generations set newest = greatest(newest, p_next + 1) where tenant = p_tenant;
  update rotations set next = p_next + 1 where tenant = p_tenant and next = p_next;
end $$;

-- New buckets are wrapped under p_next from now on, if what wrapped them retires; waits for those who are making one.
create function keeper.move_generation(p_tenant int, p_next int) returns void
  language sql set search_path = keeper, pg_temp as $$
  update generations g set current = p_next from rotations r
    where g.tenant = p_tenant and r.tenant = p_tenant and g.current < p_next and (r.retiring = '{}' or g.current = any (r.retiring));
$$;

-- Buckets that still stand under a retiring generation; `destroyed`: they held a key that was destroyed.
create function keeper.retiring_buckets(p_tenant int, p_limit int) returns table (number bigint, generation int, wrapped bytea, destroyed boolean)
  language sql stable set search_path = keeper, pg_temp as $$
  select b.number, b.generation, b.wrapped, exists (select from destroyed_keys d where d.tenant = p_tenant and d.bucket = b.number)
  from rotations r join buckets b on b.tenant = r.tenant and b.generation = any (r.retiring)
  where r.tenant = p_tenant order by b.number limit p_limit;
$$;

-- Puts a bucket under a new generation, if it is still as it was read. Without subjects its key stays the same, which
-- is refused once it held a destroyed key; with them it has a new key, under which exactly all its subjects' keys are
-- given. False: read it again.
create function keeper.rewrap_bucket(p_bucket bigint, p_before bytea, p_generation int, p_wrapped bytea,
  p_subjects bigint[], p_keys bytea[]) returns boolean
  language plpgsql set search_path = keeper, pg_temp as $$
declare
  v_changed int;
begin
  perform from buckets where number = p_bucket and wrapped = p_before for update;
  if not found then return false; end if;
  if p_subjects is null then
    if exists (select from destroyed_keys where bucket = p_bucket) then return false; end if;
  else
    if (select count(*) from subject_keys where bucket = p_bucket) <> cardinality(p_subjects) then return false; end if;
    update subject_keys k set wrapped = u.wrapped from unnest(p_subjects, p_keys) as u (subject, wrapped)
      where k.subject = u.subject and k.bucket = p_bucket;
    get diagnostics v_changed = row_count;
    if v_changed <> cardinality(p_subjects) then
      raise exception 'the keys of bucket % changed meanwhile', p_bucket using errcode = '40001';
    end if;
    delete from destroyed_keys where bucket = p_bucket;
  end if;
  update buckets set generation = p_generation, wrapped = p_wrapped, renewed = case when p_subjects is null then renewed else p_generation end
    where number = p_bucket;
  return true;
end $$;

-- Ends a rotation whose generations are destroyed.
create function keeper.end_rotation(p_tenant int, p_next int) returns void
  language sql set search_path = keeper, pg_temp as $$
  delete from rotations r where r.tenant = p_tenant and r.next = p_next
    and not exists (select from buckets b where b.tenant = p_tenant and b.generation = any (r.retiring));
$$;

-- Takes up, in a database restored from an older backup, what a later rotation did: buckets and subjects that are not
-- there are left out. Wrapped keys only; what they open is decided by the generations that are left.
create function keeper.replay_buckets(p_tenant int, p_generation int, p_numbers bigint[], p_wrapped bytea[], p_renewed boolean[]) returns void
  language sql set search_path = keeper, pg_temp as $$
  insert into generations (tenant, current, newest) values (p_tenant, p_generation, p_generation) on conflict (tenant) do update
    set current = greatest(generations.current, excluded.current), newest = greatest(generations.newest, excluded.newest);
  update buckets b set wrapped = u.wrapped, generation = p_generation, renewed = case when u.renewed then p_generation else b.renewed end
    from unnest(p_numbers, p_wrapped, p_renewed) as u (number, wrapped, renewed)
    where b.number = u.number and b.tenant = p_tenant and b.generation < p_generation;
$$;
create function keeper.replay_subject_keys(p_tenant int, p_bucket bigint, p_subjects bigint[], p_keys bytea[]) returns void
  language sql set search_path = keeper, pg_temp as $$
  -- Whoever is missing there was erased before that rotation.
  delete from subject_keys where tenant = p_tenant and bucket = p_bucket and subject <> all (p_subjects);
  update subject_keys k set wrapped = u.wrapped from unnest(p_subjects, p_keys) as u (subject, wrapped)
    where k.subject = u.subject and k.bucket = p_bucket and k.tenant = p_tenant;
$$;

-- Generations of a tenant's buckets, the current one last.
create function keeper.live_generations(p_tenant int) returns setof int
  language sql stable set search_path = keeper, pg_temp as $$
  select d.generation from (select distinct generation from buckets where tenant = p_tenant) d
    left join generations g on g.tenant = p_tenant order by d.generation = coalesce(g.current, 0), d.generation;
$$;

-- Tenants whose current generation wraps so many buckets that new ones should get another.
create function keeper.full_generations(p_buckets int) returns setof int
  language sql stable set search_path = keeper, pg_temp as $$
  select b.tenant from buckets b left join generations g on g.tenant = b.tenant where b.generation = coalesce(g.current, 0)
    group by b.tenant having count(*) >= p_buckets order by 1;
$$;

-- Tenants with a rotation under way or a destroyed key that waits for one.
create function keeper.rotations_due() returns setof int
  language sql stable set search_path = keeper, pg_temp as $$
  select tenant from rotations union select tenant from destroyed_keys order by 1;
$$;

-- Adds a generation of the data key, under which confidential values are encrypted from now on.
create function keeper.add_data_key(p_tenant int, p_generation int, p_wrapped bytea) returns boolean
  language plpgsql security definer set search_path = keeper, pg_temp as $$
begin
  insert into tenant_keys (tenant, kind, generation, wrapped) values (p_tenant, 'data', p_generation, p_wrapped) on conflict do nothing;
  if not found then return false; end if;
  update affidavit.tenants set changed_at = clock_timestamp() where number = p_tenant;
  return true;
end $$;

-- ─── Grants ─────────────────────────────────────────────────────────────────────────────────────────────────────
revoke execute on function affidavit.announcement, affidavit.control_entries, affidavit.leaf_hashes, affidavit.lock_forgetting, affidavit.place_hold,
  affidavit.release_hold, affidavit.holds_on_subjects, affidavit.is_held, affidavit.holds_on_entries, affidavit.erase_subjects,
  affidavit.drop_personas, affidavit.remove_payload, affidavit.redact, affidavit.prune, affidavit.first_sealed_after,
  affidavit.payload_left, affidavit.truncate_entries, affidavit.close_tenant, affidavit.destroy_tenant,
  affidavit.drop_payload, affidavit.drop_people, affidavit.has_line, affidavit.without_personas, affidavit.was_in_force from public;
revoke execute on function keeper.begin_rotation, keeper.skip_generation, keeper.move_generation, keeper.retiring_buckets,
  keeper.rewrap_bucket, keeper.end_rotation, keeper.rotations_due, keeper.live_generations, keeper.full_generations, keeper.add_data_key,
  keeper.replay_buckets, keeper.replay_subject_keys from public;
grant execute on function affidavit.control_entries, affidavit.leaf_hashes, affidavit.lock_forgetting, affidavit.place_hold, affidavit.release_hold,
  affidavit.holds_on_subjects, affidavit.holds_on_entries, affidavit.erase_subjects, affidavit.drop_personas, affidavit.redact,
  affidavit.prune, affidavit.first_sealed_after, affidavit.payload_left, affidavit.truncate_entries,
  affidavit.close_tenant, affidavit.destroy_tenant, affidavit.drop_payload, affidavit.drop_people to affidavit_retention;
grant execute on function keeper.begin_rotation, keeper.skip_generation, keeper.move_generation, keeper.retiring_buckets,
  keeper.rewrap_bucket, keeper.end_rotation, keeper.rotations_due, keeper.live_generations, keeper.full_generations, keeper.add_data_key,
  keeper.replay_buckets, keeper.replay_subject_keys to affidavit_keeper;
grant select, insert, update on affidavit.acts, affidavit.retention_visits to affidavit_retention;
grant select on affidavit.prunes to affidavit_retention;
grant select, insert, update, delete on affidavit.recall_due to affidavit_retention;
grant select (epoch) on affidavit.registry to affidavit_retention;
grant select on affidavit.holds, affidavit.trails, affidavit.tenants, affidavit.heads, affidavit.subjects, affidavit.settings to affidavit_retention;
grant select on affidavit.messages to affidavit_follower, affidavit_retention;
grant select on affidavit.minimums to affidavit_notary, affidavit_follower, affidavit_scrub, affidavit_reader, affidavit_operator_reader;
create policy retention on affidavit.trails for select to affidavit_retention using (true);
create policy retention on affidavit.tenants for select to affidavit_retention using (true);
create policy retention on affidavit.heads for select to affidavit_retention using (true);
create policy retention on affidavit.subjects for select to affidavit_retention using (true);
grant select, insert, delete on keeper.destroyed_keys, keeper.rotations to affidavit_keeper;
grant update on keeper.rotations, keeper.subject_keys to affidavit_keeper;

reset role;
