-- Search by terms. Under a row-level policy the planner may not hand `&&` to an index, because the operator is not
-- leakproof: a reader who asked for terms would scan the tenant. So a role of its own, finder, which sees all rows but
-- only the columns a search needs, owns one function that asserts the tenant itself and returns sequence numbers. What
-- it finds is read again by the caller under the policy.

set local role affidavit_owner;
grant select (actor) on affidavit.events to affidavit_finder;

set local role affidavit_finder;

-- Sequence numbers, in order, of the current tenant's events on closed days that have a term of each group, or whose
-- terms are incomplete. The first term, a request id's, has an index of its own and is not looked at here. Groups are
-- passed one after the other, with their lengths. Actors and actions are narrowing conditions where given.
-- AF010: nobody said which tenant.
-- Under a policy the planner guesses how often a term occurs, and may guess that reading a whole day is cheaper.
create function affidavit.find(p_trail int, p_low bigint, p_high bigint, p_first_day date, p_last_day date,
  p_terms int[], p_lengths int[], p_actors bigint[], p_actions int[], p_limit int, p_newest_first boolean)
  returns setof bigint
  language plpgsql stable security definer set search_path = affidavit, pg_temp set enable_seqscan = off
  set plan_cache_mode = force_generic_plan as $$
declare
  v_tenant int := affidavit.current_tenant();
  v_where text;
  v_groups text := '';
  v_at int := 1;
  v_length int;
begin
  if v_tenant is null then
    raise exception 'a search needs a tenant' using errcode = 'AF010';
  end if;
  -- One condition and nothing that narrows, the usual case: one plan for all, for planning a month costs more than it.
  -- Only the terms are left to an index: which tenants are large is not known to such a plan.
  if cardinality(p_lengths) = 1 and p_actors is null and p_actions is null then
    return query
      with found as materialized (
        select e.seq from affidavit.events e where e.terms[2:] && p_terms and e.day >= p_first_day and e.day <= p_last_day
          and e.tenant + 0 = v_tenant and e.trail + 0 = p_trail and e.seq + 0 >= p_low and e.seq + 0 < p_high
        union
        select e.seq from affidavit.events e where e.tenant = v_tenant and e.day >= p_first_day and e.day <= p_last_day
          and e.flags & 1 = 0 and e.trail + 0 = p_trail and e.seq + 0 >= p_low and e.seq + 0 < p_high)
      select f.seq from found f order by f.seq * case when p_newest_first then -1 else 1 end limit p_limit;
    return;
  end if;
  -- Literals, not parameters: each search gets a plan for its own days and its own terms.
  v_where := format('tenant = %s and trail = %s and seq >= %s and seq < %s and day >= %L and day <= %L',
    v_tenant, p_trail, p_low, p_high, p_first_day, p_last_day);
  if p_actors is not null then v_where := v_where || format(' and actor = any(%L::bigint[])', p_actors); end if;
  if p_actions is not null then v_where := v_where || format(' and action = any(%L::int[])', p_actions); end if;
  foreach v_length in array p_lengths loop
    v_groups := v_groups || format(' and terms[2:] && %L::int[]', p_terms[v_at : v_at + v_length - 1]);
    v_at := v_at + v_length;
  end loop;
  -- The fence keeps the limit from tempting the planner into walking the trail until enough events happen to match.
  return query execute format(
    'with found as materialized (
       select seq from affidavit.events where %1$s%2$s
       union
       select seq from affidavit.events where %1$s and flags & 1 = 0)
     select seq from found order by seq %3$s limit %4$s',
    v_where, v_groups, case when p_newest_first then 'desc' else 'asc' end, p_limit);
end $$;
revoke execute on function affidavit.find from public;
grant execute on function affidavit.find to affidavit_reader, affidavit_operator_reader;

set local role affidavit_owner;

-- An entry names the commitment to what only the operator sees. Readers may know the commitment, so that they can
-- rebuild an entry's bytes, and not what it hides.
create function affidavit.operator_commitments(p_trail int, p_seqs bigint[], p_first_day date, p_last_day date)
  returns table (seq bigint, commitment bytea)
  language sql stable security definer set search_path = affidavit, pg_temp as $$
  select e.seq, substring(e.operator for 32) from events e
  where e.tenant = affidavit.current_tenant() and e.trail = p_trail and e.seq = any(p_seqs)
    and e.day >= p_first_day and e.day <= p_last_day and e.operator is not null;
$$;
revoke execute on function affidavit.operator_commitments from public;
grant execute on function affidavit.operator_commitments to affidavit_reader, affidavit_operator_reader;

reset role;
-- Finder owns its function now and needs no more than to run it.
revoke create on schema affidavit from affidavit_finder;
