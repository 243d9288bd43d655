-- Payloads go, entries stay: redaction of single ones, and pruning of those whose retention is over.
set local role affidavit_owner;

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

-- A personal column without the numbers of its personas: what is left is committed to by the entry.
create function affidavit.without_personas(p_personal bytea) returns bytea
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select string_agg(overlay(substring(p_personal from n * 48 + 1 for 48) placing '\x0000000000000000'::bytea from 9 for 8), ''::bytea order by n)
    from generate_series(0, length(p_personal) / 48 - 1) as n;
$$;

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
-- they were sealed until p_until[n]; null: kept for good. It begins at p_start. Returns how far it has come: null when it is
-- done.
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

revoke execute on function affidavit.without_personas, affidavit.remove_payload, affidavit.redact, affidavit.prune,
  affidavit.first_sealed_after, affidavit.payload_left from public;
grant execute on function affidavit.redact, affidavit.prune, affidavit.first_sealed_after, affidavit.payload_left to affidavit_retention;
grant select, insert, update on affidavit.retention_visits to affidavit_retention;
grant select on affidavit.prunes to affidavit_retention;

reset role;
