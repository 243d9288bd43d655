-- The registry: one slot per tenant in a tree that is built anew, blinded anew, every epoch, and one public log of those
-- trees. Read with docs/spec/registry.md and docs/decisions/0013.
set local role affidavit_owner;

-- ─── Slots ──────────────────────────────────────────────────────────────────────────────────────────────────────
-- A slot is the first four bytes of the ids of a tenant's trails, so it is fixed before the first entry is sealed.
create table affidavit.slot_space (
  one boolean primary key default true check (one),
  depth smallint not null default 8, -- slots are numbers below 2^depth; only grows
  used int not null default 0
) with (fillfactor = 50);
insert into affidavit.slot_space default values;

-- Rows are never deleted: a closed tenant's slot keeps its last body and goes to nobody else.
create table affidavit.slots (
  slot int primary key,
  tenant int not null unique,        -- no foreign key: what it refers to may be deleted, the slot stays
  trail int not null unique,         -- the tenant's newest trail
  size bigint not null default 0,    -- of that trail, as the newest epoch has it; 0: not in an epoch yet
  tombstone_at timestamptz           -- closed for good: nothing is expected of its trail any more
) with (fillfactor = 50);

-- What a slot held from an epoch on. The body is the text of a checkpoint, and made of these again.
create table affidavit.slot_bodies (
  size bigint not null,
  epoch bigint not null,
  slot int not null,
  trail_id uuid not null,
  root bytea not null,
  primary key (slot, epoch)
);
create index slot_bodies_epoch on affidavit.slot_bodies (epoch);

create function affidavit.slot_of(p_trail uuid) returns bigint language sql immutable parallel safe
  return ('x' || left(replace(p_trail::text, '-', ''), 8))::bit(32)::bigint;

-- The smallest depth that leaves half of the slots empty.
create function affidavit.slot_depth(p_used int) returns smallint language sql immutable parallel safe
  return greatest(8, ceil(log(2, greatest(2 * p_used, 2))))::smallint;

-- A random free slot. Two callers may be given the same one: create_tenant takes it for the first.
create function affidavit.free_slot() returns int
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_mask bigint;
  v_slot int;
begin
  select (1::bigint << greatest(depth, slot_depth(used + 1))) - 1 into strict v_mask from slot_space;
  for i in 1..1000 loop -- each try succeeds at least every second time
    v_slot := (slot_of(gen_random_uuid()) & v_mask)::int;
    if not exists (select from slots where slot = v_slot) then return v_slot; end if;
  end loop;
  raise exception 'no free slot was found' using errcode = 'AF011';
end $$;

-- Takes the slot that a new tenant's first trail names. AF011: it is taken, or beyond the space: draw again.
create function affidavit.take_slot(p_tenant int, p_trail int, p_trail_id uuid) returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_slot bigint := slot_of(p_trail_id);
  v_depth smallint;
begin
  update slot_space set used = used + 1, depth = greatest(depth, slot_depth(used + 1)) returning depth into v_depth;
  if v_depth > 30 or v_slot >= 1::bigint << v_depth then
    raise exception 'slot % is beyond the space of depth %', v_slot, v_depth using errcode = 'AF011';
  end if;
  insert into slots (slot, tenant, trail) values (v_slot, p_tenant, p_trail) on conflict (slot) do nothing;
  if not found then raise exception 'slot % is taken', v_slot using errcode = 'AF011'; end if;
end $$;

-- Makes room for slots that a lost or newer database of this deployment gave away: its epochs had that depth.
create function affidavit.deepen_slots(p_depth smallint) returns void
  language sql security definer set search_path = affidavit, pg_temp as $$
  update slot_space set depth = p_depth where depth < p_depth;
$$;

-- ─── Tenants are made whole or not at all ───────────────────────────────────────────────────────────────────────
-- Returns the tenant's number; an existing tenant is left as it is. The trail's first entry is sealed by the lane.
-- AF011: the slot in the trail's id is not free.
create function affidavit.create_tenant(p_id text, p_name text, p_operator boolean, p_trail uuid, p_shard smallint,
  p_data_key bytea, p_index_key bytea) returns int
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_tenant int;
  v_trail int;
begin
  insert into tenants (id, name, operator) values (p_id, p_name, p_operator) on conflict (id) do nothing returning number into v_tenant;
  if v_tenant is null then
    select number into strict v_tenant from tenants where id = p_id;
    return v_tenant;
  end if;
  insert into trails (id, tenant, shard) values (p_trail, v_tenant, p_shard) returning number into v_trail;
  insert into heads (trail) values (v_trail);
  perform take_slot(v_tenant, v_trail, p_trail);
  insert into keeper.tenant_keys (tenant, kind, generation, wrapped) values (v_tenant, 'data', 0, p_data_key), (v_tenant, 'index', 0, p_index_key);
  return v_tenant;
end $$;

-- The next trail of a tenant, in the same slot. Returns its number. AF012: its id names another slot.
create function affidavit.continue_trail(p_tenant int, p_trail uuid, p_shard smallint) returns int
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_trail int;
begin
  perform from slots where tenant = p_tenant and slot = slot_of(p_trail) and tombstone_at is null for update;
  if not found then raise exception 'trail % is not in the slot of tenant %', p_trail, p_tenant using errcode = 'AF012'; end if;
  insert into trails (id, tenant, ordinal, shard)
    select p_trail, p_tenant, max(ordinal) + 1, p_shard from trails where tenant = p_tenant returning number into v_trail;
  insert into heads (trail) values (v_trail);
  update slots set trail = v_trail, size = 0 where tenant = p_tenant;
  update tenants set changed_at = clock_timestamp() where number = p_tenant;
  return v_trail;
end $$;

-- A tenant is gone: its slot keeps the body that the newest epoch has. To be called once that body covers the trail's
-- last entry; false before.
create function affidavit.entomb_slot(p_tenant int) returns boolean
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
begin
  update slots s set tombstone_at = coalesce(tombstone_at, clock_timestamp())
    where s.tenant = p_tenant and (s.tombstone_at is not null or s.size = (select size from heads h where h.trail = s.trail));
  return found;
end $$;

-- ─── The registry log ───────────────────────────────────────────────────────────────────────────────────────────
create table affidavit.registry (
  one boolean primary key default true check (one),
  origin text,                       -- null until the first epoch
  epoch bigint not null default 0,   -- the newest one; 0: none yet
  size bigint not null default 0,    -- entries of the log
  at timestamptz,                    -- time of the newest epoch
  log_key bytea,                     -- public key that signed the first epoch; its successors are entries of the log
  pruned bigint not null default 0   -- epochs up to this one have lost what is kept for days only
) with (fillfactor = 50);
insert into affidavit.registry default values;

create table affidavit.registry_entries (
  index bigint primary key,
  kind text not null check (kind in ('epoch', 'key', 'continues')),
  entry text not null,
  hash bytea not null                -- leaf hash
);
create index registry_entries_kind on affidavit.registry_entries (index) where kind <> 'epoch';

-- Hash tiles of every level. The last of each level may be partial: it grows.
create table affidavit.registry_tiles (
  level smallint not null,
  index bigint not null,
  hashes bytea not null,
  primary key (level, index)
);
alter table affidavit.registry_tiles alter column hashes set storage external;

create table affidavit.registry_epochs (
  number bigint primary key,
  index bigint not null,             -- of its entry in the log
  at timestamptz not null,
  depth smallint not null,
  audit boolean not null default false, -- the last one of its UTC day
  root bytea not null,
  crown bytea                        -- node hashes over each 256 slots, until it is pruned
);
alter table affidavit.registry_epochs alter column crown set storage external;
create index registry_epochs_audit on affidavit.registry_epochs (number) where audit;

create table affidavit.registry_notes (
  size bigint primary key,
  epoch bigint not null,
  root bytea not null,
  note text not null,                -- the checkpoint with the log's own signatures
  signed_at timestamptz not null default clock_timestamp(),
  quorum_at timestamptz              -- when cosignatures enough for the policy were there
);
create index registry_notes_quorum on affidavit.registry_notes (size) where quorum_at is not null;

create table affidavit.registry_cosignatures (
  size bigint not null,
  witness text not null,             -- key name
  line text not null,                -- the signature line, checked, with its newline
  cosigned_at timestamptz not null,
  primary key (size, witness)
);

-- Entries that the next epoch appends before its own: a successor of the log key, a log that this one continues.
create table affidavit.registry_pending (
  number bigint generated always as identity primary key,
  entry text not null unique
);

-- Names the log and its first entries, before its first epoch: after a loss. Epochs are numbered on from p_epoch, the
-- newest one known of the registry that was lost, and lie after p_at. AF013: there is a log already.
create function affidavit.begin_registry(p_origin text, p_entries text[], p_epoch bigint default 0, p_at timestamptz default null)
  returns void
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
begin
  update registry set origin = p_origin, epoch = p_epoch, at = p_at, pruned = p_epoch where epoch = 0 and origin is null;
  if not found then raise exception 'the registry has begun' using errcode = 'AF013'; end if;
  insert into registry_pending (entry) select * from unnest(p_entries);
end $$;

-- Adds or renews a witness's signature line of the checkpoint of that size.
create function affidavit.attach_cosignature(p_size bigint, p_witness text, p_line text, p_cosigned_at timestamptz) returns void
  language sql security definer set search_path = affidavit, pg_temp as $$
  insert into registry_cosignatures (size, witness, line, cosigned_at)
    select p_size, p_witness, p_line, p_cosigned_at where exists (select from registry_notes where size = p_size)
    on conflict (size, witness) do update set line = excluded.line, cosigned_at = excluded.cosigned_at
      where excluded.cosigned_at > registry_cosignatures.cosigned_at;
$$;

create function affidavit.note_quorum(p_size bigint) returns void
  language sql security definer set search_path = affidavit, pg_temp as $$
  update registry_notes set quorum_at = clock_timestamp() where size = p_size and quorum_at is null;
$$;

-- Drops what is kept for days only, of at most p_limit epochs older than p_keep that are no audit epochs: inner hashes,
-- notes with cosignatures, and bodies that no kept epoch shows. Returns how many epochs it went through.
create function affidavit.prune_registry(p_keep interval, p_limit int) returns int
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
declare
  v_from bigint;
  v_to bigint;
begin
  select pruned into strict v_from from registry for update;
  select max(number) into v_to from (
    select e.number from registry_epochs e, registry r
      where e.number > v_from and e.number < r.epoch and e.at < clock_timestamp() - p_keep order by e.number limit p_limit) as due;
  if v_to is null then return 0; end if;
  update registry_epochs set crown = null where number > v_from and number <= v_to and not audit;
  delete from registry_cosignatures c using registry_notes n, registry_epochs e
    where n.size = c.size and e.number = n.epoch and n.epoch > v_from and n.epoch <= v_to and not e.audit;
  delete from registry_notes n using registry_epochs e where e.number = n.epoch and n.epoch > v_from and n.epoch <= v_to and not e.audit;
  -- A body ends where the next one of its slot begins. Epoch v_to + 1 is kept, and shows what begins with it.
  delete from slot_bodies b using (
      select w.slot, w.epoch as until, (select max(p.epoch) from slot_bodies p where p.slot = w.slot and p.epoch < w.epoch) as epoch
        from slot_bodies w where w.epoch > v_from + 1 and w.epoch <= v_to + 1) as ended
    where b.slot = ended.slot and b.epoch = ended.epoch
      and not exists (select from registry_epochs e where e.audit and e.number >= ended.epoch and e.number < ended.until);
  update registry set pruned = v_to;
  return v_to - v_from;
end $$;

-- ─── Rights ─────────────────────────────────────────────────────────────────────────────────────────────────────
-- The log is public. Slots and bodies are not: the notary's role alone reads them, and hands out one slot's proof.
grant select on affidavit.registry, affidavit.registry_entries, affidavit.registry_tiles, affidavit.registry_notes,
  affidavit.registry_cosignatures to affidavit_notary, affidavit_follower, affidavit_scrub, affidavit_reader, affidavit_operator_reader;
grant select (number, index, at, depth, audit, root) on affidavit.registry_epochs to affidavit_reader, affidavit_operator_reader;
grant select on affidavit.registry_epochs, affidavit.slots, affidavit.slot_bodies, affidavit.slot_space, affidavit.registry_pending
  to affidavit_notary, affidavit_follower, affidavit_scrub, affidavit_keeper;
grant select on affidavit.registry, affidavit.registry_entries to affidavit_keeper;
grant insert, update on affidavit.registry_entries, affidavit.registry_tiles, affidavit.registry_epochs, affidavit.registry_notes,
  affidavit.slot_bodies to affidavit_notary;
grant update on affidavit.registry, affidavit.slots to affidavit_notary;
grant delete on affidavit.registry_pending to affidavit_notary;
grant insert on affidavit.registry_pending to affidavit_keeper;

revoke execute on function affidavit.slot_of, affidavit.slot_depth, affidavit.free_slot, affidavit.take_slot, affidavit.create_tenant,
  affidavit.continue_trail, affidavit.deepen_slots, affidavit.entomb_slot, affidavit.begin_registry, affidavit.attach_cosignature, affidavit.note_quorum,
  affidavit.prune_registry from public;
grant execute on function affidavit.free_slot, affidavit.create_tenant, affidavit.continue_trail, affidavit.deepen_slots,
  affidavit.entomb_slot, affidavit.begin_registry to affidavit_keeper;
grant execute on function affidavit.entomb_slot to affidavit_retention;
grant execute on function affidavit.attach_cosignature, affidavit.note_quorum, affidavit.prune_registry to affidavit_notary;

reset role;
