-- The ground: roles, tenants, trails, the sealed events and everything that finds or proves them.
-- Read with docs/spec (what the bytes mean) and docs/decisions (why the tables look like this).
--
-- Proofs, not triggers or grants, are the guarantee: a superuser passes all of this. Grants and row-level security
-- keep one tenant's request from reaching another's rows when our own code is wrong.

-- ─── Roles ──────────────────────────────────────────────────────────────────────────────────────────────────────
-- Cluster-wide, so another database (or a test running at the same time) may have made them already.
do $$
declare
  name text;
begin
  foreach name in array array['owner', 'ingest', 'sealer', 'notary', 'follower', 'scrub', 'reader', 'operator_reader',
                              'finder', 'keeper', 'retention'] loop
    begin
      if not exists (select from pg_roles where rolname = 'affidavit_' || name) then
        execute format('create role %I nologin', 'affidavit_' || name);
      end if;
    exception when duplicate_object or unique_violation then null; -- made by another database at this very moment
    end;
    -- From PostgreSQL 16 on, whoever creates a role is its member without the right to act as it.
    if not pg_has_role(current_user, 'affidavit_' || name,
        case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end) then
      execute format('grant %I to current_user', 'affidavit_' || name);
    end if;
  end loop;
end $$;

create schema if not exists affidavit;
create schema keeper;
-- Grants come first: a role must see the schema before it can own anything in it.
grant usage, create on schema affidavit to affidavit_owner;
grant usage, create on schema keeper to affidavit_owner;
grant usage on schema affidavit to affidavit_ingest, affidavit_sealer, affidavit_notary, affidavit_follower,
  affidavit_scrub, affidavit_reader, affidavit_operator_reader, affidavit_finder, affidavit_keeper, affidavit_retention;
grant usage on schema keeper to affidavit_keeper;
grant create on schema affidavit to affidavit_finder; -- taken back below, once finder owns its functions
set local role affidavit_owner;

-- ─── Who is asking ──────────────────────────────────────────────────────────────────────────────────────────────
-- The tenant number that the current transaction may see; null (no rows) when nobody said.
create function affidavit.current_tenant() returns int language sql stable parallel safe
  return nullif(current_setting('affidavit.tenant', true), '')::int;

-- ─── Deployment facts ───────────────────────────────────────────────────────────────────────────────────────────
create table affidavit.settings (
  name text primary key,
  value jsonb not null
);

-- ─── Tenants and trails ─────────────────────────────────────────────────────────────────────────────────────────
create table affidavit.tenants (
  number int generated always as identity primary key,
  id text not null unique,
  name text,
  operator boolean not null default false, -- the operator's own trail
  state text not null default 'open' check (state in ('open', 'closed')),
  policy jsonb not null default '{}', -- personal and confidential pointers, limits, retention
  created_at timestamptz not null default now(),
  changed_at timestamptz not null default 'epoch' -- since it was made; what servers hold in memory is compared with it
);
create index tenants_changed on affidavit.tenants (changed_at);

-- A tenant owns a chain of trails; recovery or a change of format begins the next one.
create table affidavit.trails (
  number int generated always as identity primary key,
  id uuid not null unique,
  tenant int not null references affidavit.tenants,
  ordinal int not null default 0,
  shard smallint not null, -- fixed at creation, never recomputed
  created_at timestamptz not null default now(),
  unique (tenant, ordinal)
);

create table affidavit.shards (
  shard smallint primary key,
  position bigint not null default 0,      -- events sealed in this shard
  sealed_at timestamptz not null default '1970-01-01Z',
  fence bigint not null default 0,         -- raised to disown a commit whose answer was lost
  key_epoch bigint not null default 0      -- raised when a key that accepted events may use is destroyed
) with (fillfactor = 10);
insert into affidavit.shards (shard) select generate_series(0, 15);

create table affidavit.heads (
  trail int primary key references affidavit.trails,
  size bigint not null default 0,
  hash bytea -- leaf hash of entry size − 1
) with (fillfactor = 40);

-- ─── People ─────────────────────────────────────────────────────────────────────────────────────────────────────
create table affidavit.subjects (
  number bigint generated always as identity primary key,
  tenant int not null,
  token uuid not null,     -- keyed hash of the identity; random once erased
  id_token bigint,         -- keyed hash of the id where that is no personal value; stays, as the id in facts does
  key_id uuid not null default gen_random_uuid(), -- the "subject key id" of entries
  created_at timestamptz not null default now(),
  erased_at timestamptz,
  unique (tenant, token)
);
create index subjects_id on affidavit.subjects (tenant, id_token) where id_token is not null;

create table affidavit.personas (
  number bigint generated always as identity primary key,
  tenant int not null,
  subject bigint not null,
  digest uuid not null,    -- keyed hash of subject and content: equal personas are stored once
  content bytea not null,  -- nonce ‖ AES-256-GCM ciphertext ‖ tag, under the subject's key
  unique (tenant, digest)
);
create index personas_subject on affidavit.personas (subject);

-- Names, e-mails and addresses are found through these tokens and nowhere else; erasure deletes them.
create table affidavit.persona_tokens (
  tenant int not null,
  token bigint not null,
  persona bigint not null,
  subject bigint not null,
  primary key (tenant, token, persona)
);
create index persona_tokens_subject on affidavit.persona_tokens (subject);

-- ─── Dictionary ─────────────────────────────────────────────────────────────────────────────────────────────────
create table affidavit.actions (
  number int generated always as identity primary key,
  tenant int not null,
  action text not null,
  unique (tenant, action)
);

-- ─── Events ─────────────────────────────────────────────────────────────────────────────────────────────────────
-- Columns are ordered by alignment. What a filter needs is a plain column or a term; all of it is derived from facts,
-- and `verify --deep` and the scrub recompute it. Indexes are made for each day, others for an open than for a closed one
-- (docs/decisions/0018): that a place in a trail is taken once follows from the compare-and-set on its head.
create table affidavit.events (
  seq bigint not null,
  position bigint not null,          -- place within the shard
  sealed_at timestamptz not null,
  occurred_at timestamptz not null,
  actor bigint,                      -- subject number
  facts_salt uuid,
  trail int not null,
  tenant int not null,
  action int,                        -- dictionary number; null for control entries
  day date not null,                 -- UTC day of sealing
  shard smallint not null,
  category smallint not null,
  outcome smallint not null,
  flags smallint not null,           -- 1 terms complete · 2 internal actor · 4 id given by the client · 8 arrived late
  facts_commitment bytea not null,
  hash bytea not null,               -- leaf hash = chain hash
  facts text,
  personal bytea,                    -- per line: subject (8 bytes) ‖ persona (8) ‖ commitment (32)
  confidential bytea,                -- commitment (32) ‖ salt (16) ‖ data key generation (2) ‖ nonce ‖ ciphertext ‖ tag
  operator bytea,                    -- commitment (32) ‖ salt (16) ‖ content
  control text,                      -- the entry's control line without the word "control"
  terms int[]                        -- keyed hashes of everything else a filter can name; first the request id's, or 0
) partition by range (day);
alter table affidavit.events alter column facts set storage main;

-- One row per event of the hot tier: finds an event by id, and refuses an id that was used in the last 7 to 14 days.
create table affidavit.event_ids (
  id uuid not null,                  -- hash of the id under a key of the tenant's: no two tenants share one
  body bigint,                       -- keyed hash of the normalised event before defaults; null for ids of our own
  seq bigint not null,
  trail int not null,
  day date not null
) partition by range (day);          -- by weeks

create table affidavit.event_days (
  day date primary key,
  closed_at timestamptz              -- the search index over terms is built when a day closes
);

-- ─── Notary ─────────────────────────────────────────────────────────────────────────────────────────────────────
create table affidavit.cursors (
  name text not null,
  shard smallint not null,
  position bigint not null,          -- first position not yet visited
  day date not null,                 -- no event at or after `position` was sealed before this day
  primary key (name, shard)
) with (fillfactor = 50);

create table affidavit.notarized (
  trail int primary key references affidavit.trails,
  size bigint not null,
  root bytea not null,
  range bytea not null,              -- compact range: hashes of the full subtrees, left to right
  note text not null,                -- the signed checkpoint
  signed_at timestamptz not null
) with (fillfactor = 50);

create table affidavit.tiles (
  trail int not null,
  level smallint not null,
  index bigint not null,
  hashes bytea not null,
  primary key (trail, level, index)
);
alter table affidavit.tiles alter column hashes set storage external;

-- Which days hold which part of a trail; written by the notary, so the newest events may not be in it yet.
create table affidavit.days (
  trail int not null,
  tenant int not null,
  day date not null,
  first_seq bigint not null,
  last_seq bigint not null,
  occurred_from timestamptz not null,
  occurred_to timestamptz not null,
  events bigint not null,
  primary key (trail, day)
) with (fillfactor = 50);

-- ─── Keys (readable by the keeper alone) ────────────────────────────────────────────────────────────────────────
create table keeper.tenant_keys (
  tenant int not null,
  kind text not null check (kind in ('data', 'index')),
  generation int not null,
  wrapped bytea not null,
  primary key (tenant, kind, generation)
);
-- A bucket wraps up to 1,024 subject keys, so that destroying one subject's key re-wraps one bucket.
create table keeper.buckets (
  number bigint generated always as identity primary key,
  tenant int not null,
  generation int not null,
  subjects int not null default 0,
  wrapped bytea not null,
  renewed int not null default 0     -- the generation at which it got the key it has; 0 with its making
);
create index buckets_tenant on keeper.buckets (tenant, number);
create index buckets_generation on keeper.buckets (tenant, generation);
create table keeper.subject_keys (
  subject bigint primary key,
  tenant int not null,
  bucket bigint not null references keeper.buckets,
  wrapped bytea not null
);
create index subject_keys_bucket on keeper.subject_keys (bucket);
create table keeper.api_keys (
  id text primary key,
  tenant int,                        -- null: an operator key
  name text not null,
  scopes text[] not null,
  secret_hash bytea not null,
  internal boolean not null default false,
  created_at timestamptz not null default now(),
  created_by text,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
create index api_keys_tenant on keeper.api_keys (tenant);

-- ─── Row-level security ─────────────────────────────────────────────────────────────────────────────────────────
do $$
declare
  t text;
begin
  foreach t in array array['events', 'event_ids', 'subjects', 'personas', 'persona_tokens', 'actions', 'days', 'trails',
                           'tenants', 'tiles', 'notarized', 'heads'] loop
    execute format('alter table affidavit.%I enable row level security', t);
    execute format('alter table affidavit.%I force row level security', t);
    execute format('create policy owner_all on affidavit.%I to affidavit_owner using (true) with check (true)', t);
    execute format('create policy followers on affidavit.%I for select to affidavit_notary, affidavit_follower, affidavit_scrub using (true)', t);
  end loop;
  foreach t in array array['events', 'subjects', 'personas', 'persona_tokens', 'actions', 'days', 'trails'] loop
    execute format('create policy tenant on affidavit.%I for select to affidavit_reader, affidavit_operator_reader using (tenant = affidavit.current_tenant())', t);
  end loop;
  create policy tenant on affidavit.tenants for select to affidavit_reader, affidavit_operator_reader using (number = affidavit.current_tenant());
  foreach t in array array['event_ids', 'tiles', 'notarized', 'heads'] loop
    execute format('create policy tenant on affidavit.%I for select to affidavit_reader, affidavit_operator_reader
      using (trail in (select number from affidavit.trails where tenant = affidavit.current_tenant()))', t);
  end loop;
end $$;

create policy ingest on affidavit.tenants for select to affidavit_ingest, affidavit_keeper using (true);
create policy ingest on affidavit.trails for select to affidavit_ingest, affidavit_keeper using (true);
create policy ingest on affidavit.subjects to affidavit_ingest using (true) with check (true);
create policy ingest on affidavit.personas to affidavit_ingest using (true) with check (true);
create policy ingest on affidavit.persona_tokens to affidavit_ingest using (true) with check (true);
create policy ingest on affidavit.actions to affidavit_ingest using (true) with check (true);
create policy sealer on affidavit.events for insert to affidavit_sealer with check (true);
create policy sealer on affidavit.event_ids to affidavit_sealer using (true) with check (true);
create policy sealer on affidavit.heads for select to affidavit_sealer using (true);
create policy notary on affidavit.tiles to affidavit_notary using (true) with check (true);
create policy notary on affidavit.notarized to affidavit_notary using (true) with check (true);
create policy notary on affidavit.days to affidavit_notary using (true) with check (true);
create policy finder on affidavit.events for select to affidavit_finder using (true);

grant select on affidavit.tenants, affidavit.trails, affidavit.settings to affidavit_ingest, affidavit_sealer, affidavit_notary,
  affidavit_follower, affidavit_scrub, affidavit_reader, affidavit_operator_reader, affidavit_keeper;
grant select on affidavit.shards, affidavit.event_days to affidavit_ingest, affidavit_sealer, affidavit_notary, affidavit_follower,
  affidavit_scrub, affidavit_reader, affidavit_operator_reader;
grant select, insert on affidavit.subjects, affidavit.personas, affidavit.persona_tokens, affidavit.actions to affidavit_ingest;
grant insert on affidavit.events, affidavit.event_ids to affidavit_sealer;
grant select (id, body, trail, seq, day) on affidavit.event_ids to affidavit_sealer;
grant select on affidavit.heads to affidavit_sealer;
grant select on affidavit.heads, affidavit.events, affidavit.event_ids, affidavit.subjects, affidavit.personas,
  affidavit.persona_tokens, affidavit.actions, affidavit.days, affidavit.tiles, affidavit.notarized, affidavit.cursors
  to affidavit_notary, affidavit_follower, affidavit_scrub;
grant insert, update on affidavit.tiles, affidavit.notarized, affidavit.days, affidavit.cursors to affidavit_notary;
grant insert, update on affidavit.cursors to affidavit_follower, affidavit_scrub;
grant select (seq, position, sealed_at, occurred_at, actor, facts_salt, trail, tenant, action, day, shard, category,
  outcome, flags, facts_commitment, hash, facts, personal, confidential, control, terms) on affidavit.events to affidavit_reader;
-- An entry is encoded from columns, and its `operator` line is a commitment: readers get that much of it.
grant select on affidavit.events to affidavit_operator_reader;
grant select on affidavit.heads, affidavit.event_ids, affidavit.subjects, affidavit.personas, affidavit.persona_tokens,
  affidavit.actions, affidavit.days, affidavit.tiles, affidavit.notarized to affidavit_reader, affidavit_operator_reader;
grant select (seq, trail, tenant, day, terms, flags, action) on affidavit.events to affidavit_finder;
grant select, insert, update on keeper.tenant_keys, keeper.buckets, keeper.subject_keys, keeper.api_keys to affidavit_keeper;
grant delete on keeper.subject_keys to affidavit_keeper;

-- ─── Seal ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- Moves shards and the heads of their trails, or refuses:
--   AF001 another writer moved a shard or a head · AF003 keys were destroyed since a batch resolved its personas
--   AF004 sealed_at lies before a shard's last one, or more than a second ahead of the database's clock
-- Shards come in ascending order: it is the order in which their rows are locked.
create function affidavit.advance(p_shards smallint[], p_positions bigint[], p_counts int[], p_fences bigint[],
  p_key_epochs bigint[], p_sealed_at timestamptz, p_trails int[], p_before bigint[], p_after bigint[], p_hashes bytea[]) returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_moved int;
  v shards;
begin
  for i in 1 .. cardinality(p_shards) loop
    update shards set position = position + p_counts[i], sealed_at = p_sealed_at
      where shard = p_shards[i] and position = p_positions[i] and fence = p_fences[i] and key_epoch = p_key_epochs[i]
        and sealed_at <= p_sealed_at;
    if not found then
      select * into strict v from shards where shard = p_shards[i];
      if v.position = p_positions[i] and v.fence = p_fences[i] then
        if v.key_epoch <> p_key_epochs[i] then
          raise exception 'keys of shard % were destroyed since epoch %', v.shard, p_key_epochs[i] using errcode = 'AF003';
        end if;
        raise exception 'sealed_at % lies before the last of shard %, %', p_sealed_at, v.shard, v.sealed_at using errcode = 'AF004';
      end if;
      raise exception 'shard % moved: at %, not %', v.shard, v.position, p_positions[i] using errcode = 'AF001';
    end if;
  end loop;
  if p_sealed_at > clock_timestamp() + interval '1 second' then
    raise exception 'sealed_at % is ahead of the database clock', p_sealed_at using errcode = 'AF004';
  end if;
  -- A day closes minutes after its end: nothing may arrive in it later, whatever held a statement up.
  if p_sealed_at < clock_timestamp() - interval '5 minutes' then
    raise exception 'sealed_at % is long past', p_sealed_at using errcode = 'AF004';
  end if;
  update heads h set size = u.after, hash = u.hash
    from unnest(p_trails, p_before, p_after, p_hashes) as u (trail, before, after, hash)
    where h.trail = u.trail and h.size = u.before;
  get diagnostics v_moved = row_count;
  if v_moved <> cardinality(p_trails) then
    raise exception 'a head of shards % moved', p_shards using errcode = 'AF001';
  end if;
end $$;

-- Disowns whatever an earlier connection may still be about to commit in this shard, and returns the shard as it is.
-- Waits for a commit in flight.
create function affidavit.fence(p_shard smallint) returns affidavit.shards
  language sql security definer set search_path = affidavit, pg_temp as $$
  update shards set fence = fence + 1 where shard = p_shard returning *;
$$;

-- Locks a shard until the transaction ends. A caller reads heads in a later statement: one statement that both locks and
-- reads would see the heads from before its wait.
create function affidavit.lock_shard(p_shard smallint) returns affidavit.shards
  language sql security definer set search_path = affidavit, pg_temp as $$
  select * from shards where shard = p_shard for update;
$$;

-- What a receipt of sealed events needs, and no content: for a repeat of an id, and to learn what became of a commit.
create function affidavit.sealed(p_trails int[], p_seqs bigint[], p_days date[])
  returns table (trail int, seq bigint, sealed_at timestamptz, hash bytea, previous bytea, facts_salt uuid)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select e.trail, e.seq, e.sealed_at, e.hash,
    (select p.hash from events p where p.trail = e.trail and p.seq = e.seq - 1 and p.day <= e.day order by p.day desc limit 1), e.facts_salt
  from unnest(p_trails, p_seqs, p_days) as u (trail, seq, day)
    join events e on e.trail = u.trail and e.seq = u.seq and e.day = u.day;
$$;

-- The leaf hash at one place of a shard's order on one day, or null.
create function affidavit.hash_at(p_shard smallint, p_position bigint, p_day date) returns bytea
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select hash from events where shard = p_shard and position = p_position and day = p_day;
$$;

-- Columns of fixed size first: a lane fills in seq, hash and position where they stand (store/sealed-row.ts).
create type affidavit.sealed_row as (
  seq bigint, hash bytea, position bigint, facts_salt uuid, id uuid, body bigint, occurred_at timestamptz, actor bigint,
  trail int, tenant int, action int, shard smallint, category smallint, outcome smallint, flags smallint,
  facts_commitment bytea, facts text, personal bytea, confidential bytea, operator bytea, control text, terms int[]
);

-- Seals a batch each of some shards in one round trip: moves the shards, then stores ids and events. Runs with the sealer's
-- own rights. An id that was used before is refused: by its index in this week (23505 of a table event_ids_…), with AF002 if
-- it was in the week before. Returns the database's clock.
create function affidavit.seal(p_shards smallint[], p_positions bigint[], p_counts int[], p_fences bigint[],
  p_key_epochs bigint[], p_sealed_at timestamptz, p_trails int[], p_before bigint[], p_after bigint[], p_hashes bytea[],
  p_rows affidavit.sealed_row[]) returns timestamptz
  language plpgsql set search_path = affidavit, pg_temp as $$
declare
  v_day date := (p_sealed_at at time zone 'UTC')::date;
  v_week date := date_trunc('week', p_sealed_at at time zone 'UTC')::date;
  v_used boolean;
begin
  perform affidavit.advance(p_shards, p_positions, p_counts, p_fences, p_key_epochs, p_sealed_at, p_trails, p_before, p_after, p_hashes);
  -- Rows are unpacked once for all of it. PostgreSQL begins with the last insert: a repeated id is found before any event
  -- is written.
  with r as materialized (select * from unnest(p_rows)),
    new_events as (
      insert into events (seq, position, sealed_at, occurred_at, actor, facts_salt, trail, tenant, action, day, shard,
          category, outcome, flags, facts_commitment, hash, facts, personal, confidential, operator, control, terms)
        select r.seq, r.position, p_sealed_at, r.occurred_at, r.actor, r.facts_salt, r.trail, r.tenant, r.action, v_day,
          r.shard, r.category, r.outcome, r.flags, r.facts_commitment, r.hash, r.facts, r.personal, r.confidential,
          r.operator, r.control, r.terms
        from r),
    new_ids as (
      insert into event_ids (id, body, seq, trail, day)
        select r.id, r.body, r.seq, r.trail, v_day from r where r.id is not null)
    select exists (select from r join event_ids e on e.id = r.id and e.day >= v_week - 7 and e.day < v_week
      where r.flags & 4 > 0) into v_used;
  if v_used then
    raise exception 'an id of this batch was used before' using errcode = 'AF002';
  end if;
  return clock_timestamp();
end $$;

-- ─── Partitions ─────────────────────────────────────────────────────────────────────────────────────────────────
-- Events are immutable where they lie. An announced removal may empty the columns of the payload, and those alone; an
-- announced truncation may delete: guarded functions say so for the length of their statement.
create function affidavit.refuse_change() returns trigger language plpgsql as $$
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

-- Indexes of a day's events. `place` also refuses a second entry at a place of a trail.
create function affidavit.index_events(p_name text, p_suffix text) returns void
  language plpgsql set search_path = affidavit, pg_temp as $$
declare
  -- An open day's grow in the middle, a closed day's not at all.
  v_with text := format('with (fillfactor = %s)', case p_suffix when '' then 100 else 90 end);
begin
  execute format('create unique index %I on %I (trail, seq) %s', p_name || '_place' || p_suffix, p_name, v_with);
  execute format('create index %I on %I (actor, action, seq) %s where actor is not null', p_name || '_actor' || p_suffix, p_name, v_with);
  execute format('create index %I on %I (action, seq) %s where action is not null', p_name || '_action' || p_suffix, p_name, v_with);
  execute format('create index %I on %I ((terms[1])) %s', p_name || '_request' || p_suffix, p_name, v_with);
  execute format('create index %I on %I (trail, seq) %s where control is not null', p_name || '_control' || p_suffix, p_name, v_with);
end $$;

-- Makes the partition of one day, attached without a lock that stops ingest. Idempotent.
create function affidavit.create_day(p_day date) returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_name text := 'events_' || to_char(p_day, 'YYYYMMDD');
begin
  if exists (select from event_days where day = p_day) then return; end if;
  perform pg_advisory_xact_lock(hashtext('affidavit.create_day'));
  if exists (select from event_days where day = p_day) then return; end if;
  execute format('create table %I (like events including all)', v_name);
  execute format('alter table %I add constraint day check (day = %L)', v_name, p_day);
  perform index_events(v_name, '_open');
  execute format('create index %I on %I (shard, position)', v_name || '_position_open', v_name);
  execute format('create trigger refuse_change before update or delete on %I for each row execute function refuse_change()', v_name);
  execute format('create trigger refuse_truncate before truncate on %I for each statement execute function refuse_change()', v_name);
  execute format('alter table %I enable row level security', v_name);
  execute format('alter table %I force row level security', v_name);
  -- Rows only ever arrive: freeze and mark them visible early, so that index-only scans stay index-only.
  execute format('alter table %I set (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0)', v_name);
  -- Nothing is found by what these hold, and to analyse them is a quarter of what analysing a day costs.
  execute format('alter table %I alter hash set statistics 0, alter facts_commitment set statistics 0, alter facts_salt set statistics 0,
    alter facts set statistics 0, alter personal set statistics 0, alter confidential set statistics 0, alter operator set statistics 0', v_name);
  execute format('alter table events attach partition %I for values from (%L) to (%L)', v_name, p_day, p_day + 1);
  insert into event_days (day) values (p_day);
end $$;

create function affidavit.create_week(p_week date) returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_name text := 'event_ids_' || to_char(p_week, 'YYYYMMDD');
begin
  if to_regclass('affidavit.' || v_name) is not null then return; end if;
  perform pg_advisory_xact_lock(hashtext('affidavit.create_day'));
  if to_regclass('affidavit.' || v_name) is not null then return; end if;
  execute format('create table %I (like event_ids including all)', v_name);
  execute format('alter table %I add constraint week check (day >= %L and day < %L)', v_name, p_week, p_week + 7);
  execute format('create unique index %I on %I (id)', v_name || '_id_open', v_name);
  execute format('alter table %I enable row level security', v_name);
  execute format('alter table %I force row level security', v_name);
  execute format('alter table event_ids attach partition %I for values from (%L) to (%L)', v_name, p_week, p_week + 7);
end $$;

-- Makes all partitions from today to `p_days` ahead.
create function affidavit.create_partitions(p_today date, p_days int) returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
begin
  for i in 0..p_days loop
    perform affidavit.create_day(p_today + i);
  end loop;
  for i in 0..(p_days / 7 + 1) loop
    perform affidavit.create_week(date_trunc('week', p_today)::date + 7 * i);
  end loop;
end $$;

revoke execute on all functions in schema affidavit from public;
grant execute on function affidavit.current_tenant() to public;
grant execute on function affidavit.advance, affidavit.seal, affidavit.fence, affidavit.lock_shard, affidavit.sealed, affidavit.hash_at
  to affidavit_sealer;
grant execute on function affidavit.create_partitions, affidavit.create_day, affidavit.create_week to affidavit_retention;

reset role;
