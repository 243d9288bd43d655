-- People and keys: the few statements by which the roles `ingest` and `keeper` make subjects, their keys and their
-- personas, each safe with any number of servers at once and after a crash between any two of them.
--
-- Erasing a subject sets `erased_at` (and a new token) first. Whatever adds a key or a persona holds that row FOR SHARE,
-- so nothing is added to a person who is being erased, and an erasure sees all that was.
set local role affidavit_owner;

-- ─── Deployment ─────────────────────────────────────────────────────────────────────────────────────────────────
-- What is fixed at first start: log name, public keys, a check value of the root key. The first caller decides, all get
-- the same answer.
create function affidavit.settle_deployment(p_facts jsonb) returns jsonb
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
begin
  insert into settings (name, value) values ('deployment', p_facts) on conflict (name) do nothing;
  return (select value from settings where name = 'deployment');
end $$;

-- ─── Tenants ────────────────────────────────────────────────────────────────────────────────────────────────────
-- Null leaves a value as it is. The caller seals the `policy` control entry.
create function affidavit.update_tenant(p_id text, p_name text, p_policy jsonb) returns boolean
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
begin
  update tenants set name = coalesce(p_name, name), policy = coalesce(p_policy, policy), changed_at = clock_timestamp() where id = p_id;
  return found;
end $$;

-- ─── Subjects ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Finds subjects by token and makes those that do not exist, in the order asked. A null row was erased at this moment.
create function affidavit.admit_subjects(p_tenants int[], p_tokens uuid[], p_id_tokens bigint[]) returns table (number bigint, key_id uuid)
  language plpgsql set search_path = affidavit, pg_temp as $$
#variable_conflict use_column
begin
  insert into subjects (tenant, token, id_token)
    select u.tenant, u.token, max(u.id_token) from unnest(p_tenants, p_tokens, p_id_tokens) as u (tenant, token, id_token)
    where not exists (select from subjects s where s.tenant = u.tenant and s.token = u.token)
    group by u.tenant, u.token
    order by u.tenant, u.token -- two batches that wait for each other's rows must wait in one order
    on conflict do nothing;
  -- A statement of its own: it sees the rows of those who were faster.
  return query select s.number, s.key_id
    from unnest(p_tenants, p_tokens) with ordinality as u (tenant, token, n)
      left join subjects s on s.tenant = u.tenant and s.token = u.token
    order by u.n;
end $$;

-- ─── Subject keys ───────────────────────────────────────────────────────────────────────────────────────────────
-- The generation of the subject-wrap key (kept outside PostgreSQL) under which a tenant's new buckets are wrapped. A
-- rotation makes the next generation, moves `current` (and so waits for those who hold it FOR SHARE), re-wraps the
-- buckets of older generations, and only then destroys the old key: no bucket can appear under it meanwhile.
create table keeper.generations (
  tenant int primary key,
  current int not null default 0,    -- wraps new buckets
  newest int not null default 0      -- ever used: numbers never come back
);
grant select, insert, update on keeper.generations to affidavit_keeper;

-- Per tenant: the current generation and, if there is one, the newest bucket of it with room.
create function keeper.open_buckets(p_tenants int[])
  returns table (tenant int, generation int, number bigint, subjects int, wrapped bytea)
  language sql stable set search_path = keeper, pg_temp as $$
  select t, coalesce(g.current, 0), b.number, b.subjects, b.wrapped
  from unnest(p_tenants) as t
    left join generations g on g.tenant = t
    left join lateral (
      select number, subjects, wrapped from buckets
      where tenant = t and subjects < 1024 and generation = coalesce(g.current, 0) order by number desc limit 1
    ) b on true;
$$;

-- Makes buckets; one whose generation is no longer its tenant's current one is left out.
create function keeper.add_buckets(p_tenants int[], p_generations int[], p_wrapped bytea[])
  returns table (number bigint, wrapped bytea)
  language plpgsql set search_path = keeper, pg_temp as $$
#variable_conflict use_column
begin
  insert into generations (tenant) select distinct t from unnest(p_tenants) as t order by t on conflict do nothing;
  perform from generations where tenant = any (p_tenants) order by tenant for share;
  return query
    insert into buckets (tenant, generation, wrapped)
      select u.tenant, u.generation, u.wrapped from unnest(p_tenants, p_generations, p_wrapped) as u (tenant, generation, wrapped)
        join generations g on g.tenant = u.tenant and g.current = u.generation
      returning buckets.number, buckets.wrapped;
end $$;

-- Stores keys of subjects that have none, and returns these subjects. Left out: subjects that got a key from somebody
-- faster or were erased, and those of a bucket that was re-wrapped (its bytes are not p_bucket_keys) or is full.
-- A bucket's count may run ahead of its keys, never behind.
create function keeper.add_subject_keys(p_buckets bigint[], p_bucket_keys bytea[], p_counts int[],
  p_subjects bigint[], p_tenants int[], p_bucket_of bigint[], p_wrapped bytea[]) returns setof bigint
  language plpgsql security definer set search_path = keeper, pg_temp as $$
begin
  perform from buckets where number = any (p_buckets) order by number for update;
  perform from affidavit.subjects where number = any (p_subjects) order by number for share;
  return query
    with taken as (
      update buckets b set subjects = b.subjects + u.count
      from unnest(p_buckets, p_bucket_keys, p_counts) as u (number, wrapped, count)
      where b.number = u.number and b.wrapped = u.wrapped and b.subjects + u.count <= 1024
      returning b.number, b.tenant
    )
    insert into subject_keys (subject, tenant, bucket, wrapped)
      select u.subject, u.tenant, u.bucket, u.wrapped
      from unnest(p_subjects, p_tenants, p_bucket_of, p_wrapped) as u (subject, tenant, bucket, wrapped)
        join taken t on t.number = u.bucket and t.tenant = u.tenant
        join affidavit.subjects s on s.number = u.subject and s.tenant = u.tenant and s.erased_at is null
      order by u.subject
      on conflict do nothing
      returning subject_keys.subject;
end $$;

-- ─── Personas ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Stores personas with their search tokens, whole or not at all, and returns their numbers in the order asked; null
-- where the subject was erased. p_token_of: place (from 1) of the persona that a token belongs to.
create function affidavit.admit_personas(p_tenants int[], p_subjects bigint[], p_digests uuid[], p_contents bytea[],
  p_token_of int[], p_tokens bigint[]) returns table (number bigint)
  language plpgsql security definer set search_path = affidavit, pg_temp as $$
#variable_conflict use_column
declare
  v_numbers bigint[];
  v_made int;
begin
  perform from subjects where number = any (p_subjects) order by number for share;
  insert into personas (tenant, subject, digest, content)
    select u.tenant, u.subject, u.digest, u.content
    from unnest(p_tenants, p_subjects, p_digests, p_contents) as u (tenant, subject, digest, content)
      join subjects s on s.number = u.subject and s.tenant = u.tenant and s.erased_at is null
    order by u.tenant, u.digest
    on conflict do nothing;
  get diagnostics v_made = row_count;
  select array_agg(p.number order by u.n) into v_numbers
    from unnest(p_tenants, p_digests) with ordinality as u (tenant, digest, n)
      left join personas p on p.tenant = u.tenant and p.digest = u.digest;
  -- Subscripts instead of a join: the planner takes arrays for ten rows, and would compare all with all.
  if v_made = cardinality(p_digests) then -- of new personas nobody has stored a token, and looking for one costs as much as storing it
    insert into persona_tokens (tenant, token, persona, subject)
      select distinct p_tenants[t.n], t.token, v_numbers[t.n], p_subjects[t.n] from unnest(p_token_of, p_tokens) as t (n, token);
  else
    insert into persona_tokens (tenant, token, persona, subject)
      select distinct p_tenants[t.n], t.token, v_numbers[t.n], p_subjects[t.n]
      from unnest(p_token_of, p_tokens) as t (n, token) where v_numbers[t.n] is not null
      on conflict do nothing;
  end if;
  return query select unnest(v_numbers);
end $$;

-- What reading a page of events needs to show its people: ciphertext and the wrapped keys, for one tenant, in the order
-- given. With the persona that makes them more than p_most bytes, contents end: the rows of those after it have none.
create function keeper.open_personas(p_tenant int, p_personas bigint[], p_most bigint)
  returns table (persona bigint, subject bigint, content bytea, wrapped bytea, bucket bigint, generation int, bucket_wrapped bytea)
  language sql stable security definer set search_path = keeper, pg_temp as $$
  select p.number, p.subject, case when p.before <= p_most then p.content end, k.wrapped, b.number, b.generation, b.wrapped
  from (
      select q.number, q.subject, q.content, sum(octet_length(q.content)) over (order by u.n) - octet_length(q.content) as before
      from unnest(p_personas) with ordinality as u (number, n)
        join affidavit.personas q on q.number = u.number and q.tenant = p_tenant) p
    join subject_keys k on k.subject = p.subject and k.tenant = p_tenant
    join buckets b on b.number = k.bucket and b.tenant = p_tenant;
$$;

-- ─── API keys ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Notes the last use of keys and returns those used for the first time on that UTC day, by whichever server notes first.
create function keeper.touch_api_keys(p_ids text[], p_used_at timestamptz[]) returns table (id text, used_at timestamptz)
  language plpgsql set search_path = keeper, pg_temp as $$
#variable_conflict use_column
begin
  return query
    with prior as (
      select k.id, k.last_used_at from api_keys k where k.id = any (p_ids) order by k.id for update
    ), touched as (
      update api_keys k set last_used_at = greatest(k.last_used_at, u.used_at)
      from unnest(p_ids, p_used_at) as u (id, used_at) where k.id = u.id
    )
    select u.id, u.used_at from unnest(p_ids, p_used_at) as u (id, used_at) join prior p on p.id = u.id
    where p.last_used_at is null or (p.last_used_at at time zone 'UTC')::date < (u.used_at at time zone 'UTC')::date;
end $$;

revoke execute on all functions in schema keeper from public;
revoke execute on function affidavit.settle_deployment, affidavit.update_tenant, affidavit.admit_subjects, affidavit.admit_personas
  from public;
grant execute on function affidavit.settle_deployment, affidavit.update_tenant to affidavit_keeper;
grant execute on function affidavit.admit_subjects, affidavit.admit_personas to affidavit_ingest;
grant execute on all functions in schema keeper to affidavit_keeper;

reset role;
