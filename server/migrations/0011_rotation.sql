-- Rotation of a tenant's keys. What makes destruction final is that the generation above a destroyed key goes, too, and
-- that happens outside the database (erase/rotation.ts): here buckets are wrapped anew under the next one.
set local role affidavit_owner;

-- The one rotation of a tenant's subject-wrap key that is under way.
create table keeper.rotations (
  tenant int primary key,
  next int not null,
  retiring int[] not null,
  started_at timestamptz not null default clock_timestamp()
);

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

revoke execute on function keeper.begin_rotation, keeper.skip_generation, keeper.move_generation, keeper.retiring_buckets,
  keeper.rewrap_bucket, keeper.end_rotation, keeper.rotations_due, keeper.live_generations, keeper.full_generations,
  keeper.add_data_key, keeper.replay_buckets, keeper.replay_subject_keys from public;
grant execute on function keeper.begin_rotation, keeper.skip_generation, keeper.move_generation, keeper.retiring_buckets,
  keeper.rewrap_bucket, keeper.end_rotation, keeper.rotations_due, keeper.live_generations, keeper.full_generations,
  keeper.add_data_key, keeper.replay_buckets, keeper.replay_subject_keys to affidavit_keeper;
grant select, insert, update, delete on keeper.rotations to affidavit_keeper;
grant update on keeper.subject_keys to affidavit_keeper;

reset role;
