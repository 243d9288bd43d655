-- The end of a tenant: nothing is accepted any more, every key is destroyed, payloads and people go.
set local role affidavit_owner;

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

revoke execute on function affidavit.close_tenant, affidavit.destroy_tenant, affidavit.drop_payload, affidavit.drop_people from public;
grant execute on function affidavit.close_tenant, affidavit.destroy_tenant, affidavit.drop_payload, affidavit.drop_people
  to affidavit_retention;

reset role;
