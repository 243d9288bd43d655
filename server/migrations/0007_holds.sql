-- Legal holds: what one covers may not go. A hold counts from its control entry on, and until the entry that releases it;
-- the table follows the trail.
set local role affidavit_owner;

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

-- Whether a personal column has a line of one of these subjects (8 bytes of each 48).
create function affidavit.has_line(p_personal bytea, p_subjects bigint[]) returns boolean
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select exists (select from generate_series(0, length(p_personal) / 48 - 1) as n
    where ('x' || encode(substring(p_personal from n * 48 + 1 for 8), 'hex'))::bit(64)::bigint = any (p_subjects));
$$;

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

revoke execute on function affidavit.has_line, affidavit.lock_forgetting, affidavit.place_hold, affidavit.release_hold,
  affidavit.was_in_force, affidavit.holds_on_subjects, affidavit.is_held, affidavit.holds_on_entries from public;
grant execute on function affidavit.lock_forgetting, affidavit.place_hold, affidavit.release_hold, affidavit.holds_on_subjects,
  affidavit.holds_on_entries to affidavit_retention;
grant select on affidavit.holds to affidavit_retention;

reset role;
