-- Requests to forget, which wait for a second principal, and what the database reads of the control entries that carry
-- them out. The trail decides; tables of forgetting only queue and speed up. Every guarded function here and in the
-- migrations after this one reads its control entry itself and refuses without it, may be repeated, and leaves nothing
-- half done that a repetition would not finish.
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

-- Leaf hashes of entries, by which a later start knows whether a number still means the same entry.
create function affidavit.leaf_hashes(p_trail int, p_seqs bigint[]) returns table (seq bigint, hash bytea)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select s, coalesce((select e.hash from events e where e.trail = p_trail and e.seq = s),
      (select substring(t.hashes from (s % 256 * 32)::int + 1 for 32) from tiles t
        where t.trail = p_trail and t.level = 0 and t.index = s / 256))
    from unnest(p_seqs) as s
    where s < (select size from heads where trail = p_trail);
$$;

revoke execute on function affidavit.announcement, affidavit.control_entries, affidavit.leaf_hashes from public;
grant execute on function affidavit.control_entries, affidavit.leaf_hashes to affidavit_retention;
grant select, insert, update on affidavit.acts to affidavit_retention;
grant select on affidavit.messages to affidavit_follower, affidavit_retention;
grant select (epoch) on affidavit.registry to affidavit_retention;
grant select on affidavit.trails, affidavit.tenants, affidavit.heads, affidavit.subjects, affidavit.settings to affidavit_retention;
create policy retention on affidavit.trails for select to affidavit_retention using (true);
create policy retention on affidavit.tenants for select to affidavit_retention using (true);
create policy retention on affidavit.heads for select to affidavit_retention using (true);
create policy retention on affidavit.subjects for select to affidavit_retention using (true);

reset role;
