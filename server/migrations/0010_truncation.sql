-- Truncation: the oldest entries of a trail go, too.
set local role affidavit_owner;

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

revoke execute on function affidavit.truncate_entries from public;
grant execute on function affidavit.truncate_entries to affidavit_retention;
grant select on affidavit.minimums to affidavit_notary, affidavit_follower, affidavit_scrub, affidavit_reader, affidavit_operator_reader;

reset role;
