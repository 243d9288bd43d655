-- What server/migrations lead to, read back from PostgreSQL's catalogs. Not run: it is here to be read and compared.
-- Rewrite it with: node cli/bin/node24.mjs server/test/schema.ts

create role affidavit_finder nologin;
create role affidavit_follower nologin;
create role affidavit_ingest nologin;
create role affidavit_keeper nologin;
create role affidavit_notary nologin;
create role affidavit_operator_reader nologin;
create role affidavit_owner nologin;
create role affidavit_reader nologin;
create role affidavit_retention nologin;
create role affidavit_scrub nologin;
create role affidavit_sealer nologin;

create schema affidavit authorization login;
grant create, usage on schema affidavit to affidavit_owner;
grant usage on schema affidavit to affidavit_finder;
grant usage on schema affidavit to affidavit_follower;
grant usage on schema affidavit to affidavit_ingest;
grant usage on schema affidavit to affidavit_keeper;
grant usage on schema affidavit to affidavit_notary;
grant usage on schema affidavit to affidavit_operator_reader;
grant usage on schema affidavit to affidavit_reader;
grant usage on schema affidavit to affidavit_retention;
grant usage on schema affidavit to affidavit_scrub;
grant usage on schema affidavit to affidavit_sealer;

create schema keeper authorization login;
grant create, usage on schema keeper to affidavit_owner;
grant usage on schema keeper to affidavit_keeper;

create schema public authorization pg_database_owner;
grant usage on schema public to public;

create type affidavit.sealed_row as (
  seq bigint,
  hash bytea,
  "position" bigint,
  facts_salt uuid,
  id uuid,
  body bigint,
  occurred_at timestamp with time zone,
  actor bigint,
  trail integer,
  tenant integer,
  action integer,
  shard smallint,
  category smallint,
  outcome smallint,
  flags smallint,
  facts_commitment bytea,
  facts text,
  personal bytea,
  confidential bytea,
  operator bytea,
  control text,
  terms integer[]
);

create table affidavit.actions (
  number integer not null generated always as identity,
  tenant integer not null,
  action text not null
);
alter table affidavit.actions owner to affidavit_owner;
alter table affidavit.actions enable row level security;
alter table affidavit.actions force row level security;
alter table affidavit.actions add constraint actions_pkey PRIMARY KEY (number);
alter table affidavit.actions add constraint actions_tenant_action_key UNIQUE (tenant, action);
create policy followers on affidavit.actions for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy ingest on affidavit.actions for all to affidavit_ingest using (true) with check (true);
create policy owner_all on affidavit.actions for all to affidavit_owner using (true) with check (true);
create policy tenant on affidavit.actions for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant insert, select on affidavit.actions to affidavit_ingest;
grant select on affidavit.actions to affidavit_follower;
grant select on affidavit.actions to affidavit_notary;
grant select on affidavit.actions to affidavit_operator_reader;
grant select on affidavit.actions to affidavit_reader;
grant select on affidavit.actions to affidavit_scrub;

create table affidavit.acts (
  id uuid not null default gen_random_uuid(),
  kind text not null,
  tenant integer not null,
  trail integer not null,
  state text not null default 'waiting'::text,
  what jsonb not null,
  reason text not null,
  requested_by text not null,
  requested_name text not null,
  requested_at timestamp with time zone not null default clock_timestamp(),
  decided_by text,
  decided_name text,
  decided_at timestamp with time zone,
  holds uuid[] not null default '{}'::uuid[],
  low bigint,
  control bigint,
  done_at timestamp with time zone
);
alter table affidavit.acts owner to affidavit_owner;
alter table affidavit.acts add constraint acts_check CHECK (((state = ANY (ARRAY['waiting'::text, 'rejected'::text])) OR (decided_by <> requested_by)));
alter table affidavit.acts add constraint acts_kind_check CHECK ((kind = ANY (ARRAY['erase'::text, 'redact'::text, 'release'::text, 'retention'::text, 'truncate'::text, 'delete'::text])));
alter table affidavit.acts add constraint acts_pkey PRIMARY KEY (id);
alter table affidavit.acts add constraint acts_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'approved'::text, 'held'::text, 'announced'::text, 'done'::text, 'rejected'::text])));
alter table affidavit.acts add constraint acts_tenant_fkey FOREIGN KEY (tenant) REFERENCES affidavit.tenants(number);
alter table affidavit.acts add constraint acts_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
CREATE INDEX acts_open ON affidavit.acts USING btree (state, decided_at) WHERE (state = ANY (ARRAY['waiting'::text, 'approved'::text, 'held'::text, 'announced'::text]));
CREATE INDEX acts_tenant ON affidavit.acts USING btree (tenant, requested_at DESC, id);
grant insert, select, update on affidavit.acts to affidavit_retention;

create table affidavit.anchored (
  id bigint not null generated always as identity,
  epoch bigint not null,
  size bigint not null,
  at timestamp with time zone not null default clock_timestamp(),
  anchor text not null,
  kind text not null,
  origin text not null,
  public boolean not null,
  note text not null,
  token bytea,
  details jsonb not null default '{}'::jsonb
);
alter table affidavit.anchored owner to affidavit_owner;
alter table affidavit.anchored enable row level security;
alter table affidavit.anchored force row level security;
alter table affidavit.anchored add constraint anchored_pkey PRIMARY KEY (id);
CREATE INDEX anchored_epoch ON affidavit.anchored USING btree (epoch) WHERE public;
CREATE INDEX anchored_public ON affidavit.anchored USING btree (id DESC) WHERE public;
create policy anchored_all on affidavit.anchored for all to affidavit_follower, affidavit_notary, affidavit_operator_reader, affidavit_scrub using (true) with check (true);
create policy anchored_public on affidavit.anchored for select to affidavit_reader using (public);
grant insert, select on affidavit.anchored to affidavit_notary;
grant select on affidavit.anchored to affidavit_follower;
grant select on affidavit.anchored to affidavit_operator_reader;
grant select on affidavit.anchored to affidavit_reader;
grant select on affidavit.anchored to affidavit_scrub;

create table affidavit.anchors (
  name text not null,
  kind text not null,
  origin text,
  epoch bigint,
  size bigint,
  succeeded_at timestamp with time zone,
  error text,
  wrong boolean not null default false,
  failed_at timestamp with time zone,
  failures integer not null default 0,
  wrong_answers integer not null default 0,
  next_try_at timestamp with time zone
) with (fillfactor=70);
alter table affidavit.anchors owner to affidavit_owner;
alter table affidavit.anchors add constraint anchors_kind_check CHECK ((kind = ANY (ARRAY['witness'::text, 'bucket'::text, 'timestamp'::text, 'mailbox'::text, 'webhook'::text])));
alter table affidavit.anchors add constraint anchors_pkey PRIMARY KEY (name, kind);
grant delete, insert, select, update on affidavit.anchors to affidavit_notary;
grant select on affidavit.anchors to affidavit_follower;
grant select on affidavit.anchors to affidavit_operator_reader;
grant select on affidavit.anchors to affidavit_scrub;

create table affidavit.continued (
  trail integer not null,
  continues uuid not null,
  size bigint not null,
  root bytea not null
);
alter table affidavit.continued owner to affidavit_owner;
alter table affidavit.continued add constraint continued_pkey PRIMARY KEY (trail);
alter table affidavit.continued add constraint continued_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
grant delete, insert, select on affidavit.continued to affidavit_keeper;

create table affidavit.cursors (
  name text not null,
  shard smallint not null,
  "position" bigint not null,
  day date not null
) with (fillfactor=50);
alter table affidavit.cursors owner to affidavit_owner;
alter table affidavit.cursors add constraint cursors_pkey PRIMARY KEY (name, shard);
grant insert, select, update on affidavit.cursors to affidavit_follower;
grant insert, select, update on affidavit.cursors to affidavit_notary;
grant insert, select, update on affidavit.cursors to affidavit_scrub;

create table affidavit.days (
  trail integer not null,
  tenant integer not null,
  day date not null,
  first_seq bigint not null,
  last_seq bigint not null,
  occurred_from timestamp with time zone not null,
  occurred_to timestamp with time zone not null,
  events bigint not null
) with (fillfactor=50);
alter table affidavit.days owner to affidavit_owner;
alter table affidavit.days enable row level security;
alter table affidavit.days force row level security;
alter table affidavit.days add constraint days_pkey PRIMARY KEY (trail, day);
create policy followers on affidavit.days for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy notary on affidavit.days for all to affidavit_notary using (true) with check (true);
create policy owner_all on affidavit.days for all to affidavit_owner using (true) with check (true);
create policy tenant on affidavit.days for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant insert, select, update on affidavit.days to affidavit_notary;
grant select on affidavit.days to affidavit_follower;
grant select on affidavit.days to affidavit_operator_reader;
grant select on affidavit.days to affidavit_reader;
grant select on affidavit.days to affidavit_scrub;

create table affidavit.event_days (
  day date not null,
  closed_at timestamp with time zone
);
alter table affidavit.event_days owner to affidavit_owner;
alter table affidavit.event_days add constraint event_days_pkey PRIMARY KEY (day);
grant select on affidavit.event_days to affidavit_follower;
grant select on affidavit.event_days to affidavit_ingest;
grant select on affidavit.event_days to affidavit_notary;
grant select on affidavit.event_days to affidavit_operator_reader;
grant select on affidavit.event_days to affidavit_reader;
grant select on affidavit.event_days to affidavit_scrub;
grant select on affidavit.event_days to affidavit_sealer;

create table affidavit.event_ids (
  id uuid not null,
  body bigint,
  seq bigint not null,
  trail integer not null,
  day date not null
) partition by RANGE (day);
alter table affidavit.event_ids owner to affidavit_owner;
alter table affidavit.event_ids enable row level security;
alter table affidavit.event_ids force row level security;
create policy followers on affidavit.event_ids for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy owner_all on affidavit.event_ids for all to affidavit_owner using (true) with check (true);
create policy sealer on affidavit.event_ids for all to affidavit_sealer using (true) with check (true);
create policy tenant on affidavit.event_ids for select to affidavit_operator_reader, affidavit_reader using ((trail IN ( SELECT trails.number
   FROM affidavit.trails
  WHERE (trails.tenant = affidavit.current_tenant()))));
grant insert on affidavit.event_ids to affidavit_sealer;
grant select on affidavit.event_ids to affidavit_follower;
grant select on affidavit.event_ids to affidavit_notary;
grant select on affidavit.event_ids to affidavit_operator_reader;
grant select on affidavit.event_ids to affidavit_reader;
grant select on affidavit.event_ids to affidavit_scrub;
grant select (id, body, seq, trail, day) on affidavit.event_ids to affidavit_sealer;

create table affidavit.events (
  seq bigint not null,
  "position" bigint not null,
  sealed_at timestamp with time zone not null,
  occurred_at timestamp with time zone not null,
  actor bigint,
  facts_salt uuid,
  trail integer not null,
  tenant integer not null,
  action integer,
  day date not null,
  shard smallint not null,
  category smallint not null,
  outcome smallint not null,
  flags smallint not null,
  facts_commitment bytea not null,
  hash bytea not null,
  facts text storage main,
  personal bytea,
  confidential bytea,
  operator bytea,
  control text,
  terms integer[]
) partition by RANGE (day);
alter table affidavit.events owner to affidavit_owner;
alter table affidavit.events enable row level security;
alter table affidavit.events force row level security;
create policy finder on affidavit.events for select to affidavit_finder using (true);
create policy followers on affidavit.events for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy owner_all on affidavit.events for all to affidavit_owner using (true) with check (true);
create policy recovery on affidavit.events for select to affidavit_keeper using (true);
create policy sealer on affidavit.events for insert to affidavit_sealer with check (true);
create policy tenant on affidavit.events for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant insert on affidavit.events to affidavit_sealer;
grant select on affidavit.events to affidavit_follower;
grant select on affidavit.events to affidavit_notary;
grant select on affidavit.events to affidavit_operator_reader;
grant select on affidavit.events to affidavit_scrub;
grant select (seq, actor, trail, tenant, action, day, flags, terms) on affidavit.events to affidavit_finder;
grant select (seq, position, sealed_at, occurred_at, actor, facts_salt, trail, tenant, action, day, shard, category, outcome, flags, facts_commitment, hash, facts, personal, confidential, control, terms) on affidavit.events to affidavit_reader;
grant select (seq, trail, hash, control) on affidavit.events to affidavit_keeper;

create table affidavit.heads (
  trail integer not null,
  size bigint not null default 0,
  hash bytea
) with (fillfactor=40);
alter table affidavit.heads owner to affidavit_owner;
alter table affidavit.heads enable row level security;
alter table affidavit.heads force row level security;
alter table affidavit.heads add constraint heads_pkey PRIMARY KEY (trail);
alter table affidavit.heads add constraint heads_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
create policy followers on affidavit.heads for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy owner_all on affidavit.heads for all to affidavit_owner using (true) with check (true);
create policy recovery on affidavit.heads for select to affidavit_keeper using (true);
create policy retention on affidavit.heads for select to affidavit_retention using (true);
create policy sealer on affidavit.heads for select to affidavit_sealer using (true);
create policy tenant on affidavit.heads for select to affidavit_operator_reader, affidavit_reader using ((trail IN ( SELECT trails.number
   FROM affidavit.trails
  WHERE (trails.tenant = affidavit.current_tenant()))));
grant select on affidavit.heads to affidavit_follower;
grant select on affidavit.heads to affidavit_keeper;
grant select on affidavit.heads to affidavit_notary;
grant select on affidavit.heads to affidavit_operator_reader;
grant select on affidavit.heads to affidavit_reader;
grant select on affidavit.heads to affidavit_retention;
grant select on affidavit.heads to affidavit_scrub;
grant select on affidavit.heads to affidavit_sealer;

create table affidavit.holds (
  id uuid not null,
  tenant integer not null,
  trail integer not null,
  scope text not null,
  low bigint,
  high bigint,
  subjects bigint[] not null default '{}'::bigint[],
  seq bigint not null,
  placed_at timestamp with time zone not null,
  released bigint,
  released_at timestamp with time zone
);
alter table affidavit.holds owner to affidavit_owner;
alter table affidavit.holds add constraint holds_pkey PRIMARY KEY (id);
alter table affidavit.holds add constraint holds_scope_check CHECK ((scope = ANY (ARRAY['trail'::text, 'entries'::text, 'subjects'::text])));
alter table affidavit.holds add constraint holds_tenant_fkey FOREIGN KEY (tenant) REFERENCES affidavit.tenants(number);
alter table affidavit.holds add constraint holds_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
CREATE INDEX holds_trail ON affidavit.holds USING btree (trail);
grant select on affidavit.holds to affidavit_retention;

create table affidavit.lost (
  trail integer not null,
  first bigint not null,
  until bigint not null,
  sealed boolean not null default false
);
alter table affidavit.lost owner to affidavit_owner;
alter table affidavit.lost add constraint lost_pkey PRIMARY KEY (trail, first);
alter table affidavit.lost add constraint lost_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
grant select, update on affidavit.lost to affidavit_keeper;

create table affidavit.messages (
  number bigint not null generated always as identity,
  kind text not null,
  tenant integer not null,
  trail integer not null,
  seq bigint not null,
  data jsonb not null,
  at timestamp with time zone not null default clock_timestamp()
);
alter table affidavit.messages owner to affidavit_owner;
alter table affidavit.messages add constraint messages_kind_check CHECK ((kind = ANY (ARRAY['subject.erased'::text, 'payload.removed'::text, 'tenant.deleted'::text])));
alter table affidavit.messages add constraint messages_pkey PRIMARY KEY (number);
grant select on affidavit.messages to affidavit_follower;
grant select on affidavit.messages to affidavit_retention;

create table affidavit.migrations (
  number integer not null,
  name text not null,
  sha256 text not null,
  run_at timestamp with time zone not null default now()
);
alter table affidavit.migrations owner to login;
alter table affidavit.migrations add constraint migrations_pkey PRIMARY KEY (number);

create table affidavit.minimums (
  trail integer not null,
  tenant integer not null,
  size bigint not null,
  control bigint not null
);
alter table affidavit.minimums owner to affidavit_owner;
alter table affidavit.minimums enable row level security;
alter table affidavit.minimums force row level security;
alter table affidavit.minimums add constraint minimums_pkey PRIMARY KEY (trail);
alter table affidavit.minimums add constraint minimums_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
create policy followers on affidavit.minimums for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy owner_all on affidavit.minimums for all to affidavit_owner using (true) with check (true);
create policy tenant on affidavit.minimums for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant select on affidavit.minimums to affidavit_follower;
grant select on affidavit.minimums to affidavit_notary;
grant select on affidavit.minimums to affidavit_operator_reader;
grant select on affidavit.minimums to affidavit_reader;
grant select on affidavit.minimums to affidavit_scrub;

create table affidavit.notarized (
  trail integer not null,
  size bigint not null,
  root bytea not null,
  range bytea not null,
  note text not null,
  signed_at timestamp with time zone not null
) with (fillfactor=50);
alter table affidavit.notarized owner to affidavit_owner;
alter table affidavit.notarized enable row level security;
alter table affidavit.notarized force row level security;
alter table affidavit.notarized add constraint notarized_pkey PRIMARY KEY (trail);
alter table affidavit.notarized add constraint notarized_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
create policy followers on affidavit.notarized for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy notary on affidavit.notarized for all to affidavit_notary using (true) with check (true);
create policy owner_all on affidavit.notarized for all to affidavit_owner using (true) with check (true);
create policy recovery on affidavit.notarized for select to affidavit_keeper using (true);
create policy tenant on affidavit.notarized for select to affidavit_operator_reader, affidavit_reader using ((trail IN ( SELECT trails.number
   FROM affidavit.trails
  WHERE (trails.tenant = affidavit.current_tenant()))));
grant insert, select, update on affidavit.notarized to affidavit_notary;
grant select on affidavit.notarized to affidavit_follower;
grant select on affidavit.notarized to affidavit_keeper;
grant select on affidavit.notarized to affidavit_operator_reader;
grant select on affidavit.notarized to affidavit_reader;
grant select on affidavit.notarized to affidavit_scrub;

create table affidavit.persona_tokens (
  tenant integer not null,
  token bigint not null,
  persona bigint not null,
  subject bigint not null
);
alter table affidavit.persona_tokens owner to affidavit_owner;
alter table affidavit.persona_tokens enable row level security;
alter table affidavit.persona_tokens force row level security;
alter table affidavit.persona_tokens add constraint persona_tokens_pkey PRIMARY KEY (tenant, token, persona);
CREATE INDEX persona_tokens_subject ON affidavit.persona_tokens USING btree (subject);
create policy followers on affidavit.persona_tokens for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy ingest on affidavit.persona_tokens for all to affidavit_ingest using (true) with check (true);
create policy owner_all on affidavit.persona_tokens for all to affidavit_owner using (true) with check (true);
create policy tenant on affidavit.persona_tokens for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant insert, select on affidavit.persona_tokens to affidavit_ingest;
grant select on affidavit.persona_tokens to affidavit_follower;
grant select on affidavit.persona_tokens to affidavit_notary;
grant select on affidavit.persona_tokens to affidavit_operator_reader;
grant select on affidavit.persona_tokens to affidavit_reader;
grant select on affidavit.persona_tokens to affidavit_scrub;

create table affidavit.personas (
  number bigint not null generated always as identity,
  tenant integer not null,
  subject bigint not null,
  digest uuid not null,
  content bytea not null
);
alter table affidavit.personas owner to affidavit_owner;
alter table affidavit.personas enable row level security;
alter table affidavit.personas force row level security;
alter table affidavit.personas add constraint personas_pkey PRIMARY KEY (number);
alter table affidavit.personas add constraint personas_tenant_digest_key UNIQUE (tenant, digest);
CREATE INDEX personas_subject ON affidavit.personas USING btree (subject);
create policy followers on affidavit.personas for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy ingest on affidavit.personas for all to affidavit_ingest using (true) with check (true);
create policy owner_all on affidavit.personas for all to affidavit_owner using (true) with check (true);
create policy tenant on affidavit.personas for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant insert, select on affidavit.personas to affidavit_ingest;
grant select on affidavit.personas to affidavit_follower;
grant select on affidavit.personas to affidavit_notary;
grant select on affidavit.personas to affidavit_operator_reader;
grant select on affidavit.personas to affidavit_reader;
grant select on affidavit.personas to affidavit_scrub;

create table affidavit.prunes (
  trail integer not null,
  control bigint not null,
  next bigint not null,
  before bigint not null
);
alter table affidavit.prunes owner to affidavit_owner;
alter table affidavit.prunes add constraint prunes_pkey PRIMARY KEY (trail, control);
alter table affidavit.prunes add constraint prunes_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
grant select on affidavit.prunes to affidavit_retention;

create table affidavit.recall_due (
  one boolean not null default true,
  from_epoch bigint not null
);
alter table affidavit.recall_due owner to affidavit_owner;
alter table affidavit.recall_due add constraint recall_due_one_check CHECK (one);
alter table affidavit.recall_due add constraint recall_due_pkey PRIMARY KEY (one);
grant delete, insert, select, update on affidavit.recall_due to affidavit_retention;

create table affidavit.recoveries (
  number bigint not null generated always as identity,
  from_epoch bigint not null,
  to_epoch bigint,
  entries bigint not null default 0,
  began_at timestamp with time zone not null default clock_timestamp(),
  finished_at timestamp with time zone
);
alter table affidavit.recoveries owner to affidavit_owner;
alter table affidavit.recoveries add constraint recoveries_pkey PRIMARY KEY (number);
grant insert, select, update on affidavit.recoveries to affidavit_keeper;

create table affidavit.registry (
  one boolean not null default true,
  origin text,
  epoch bigint not null default 0,
  size bigint not null default 0,
  at timestamp with time zone,
  log_key bytea,
  pruned bigint not null default 0
) with (fillfactor=50);
alter table affidavit.registry owner to affidavit_owner;
alter table affidavit.registry add constraint registry_one_check CHECK (one);
alter table affidavit.registry add constraint registry_pkey PRIMARY KEY (one);
grant select on affidavit.registry to affidavit_follower;
grant select on affidavit.registry to affidavit_keeper;
grant select on affidavit.registry to affidavit_operator_reader;
grant select on affidavit.registry to affidavit_reader;
grant select on affidavit.registry to affidavit_scrub;
grant select, update on affidavit.registry to affidavit_notary;
grant select (epoch) on affidavit.registry to affidavit_retention;

create table affidavit.registry_cosignatures (
  size bigint not null,
  witness text not null,
  line text not null,
  cosigned_at timestamp with time zone not null
);
alter table affidavit.registry_cosignatures owner to affidavit_owner;
alter table affidavit.registry_cosignatures add constraint registry_cosignatures_pkey PRIMARY KEY (size, witness);
grant select on affidavit.registry_cosignatures to affidavit_follower;
grant select on affidavit.registry_cosignatures to affidavit_notary;
grant select on affidavit.registry_cosignatures to affidavit_operator_reader;
grant select on affidavit.registry_cosignatures to affidavit_reader;
grant select on affidavit.registry_cosignatures to affidavit_scrub;

create table affidavit.registry_entries (
  index bigint not null,
  kind text not null,
  entry text not null,
  hash bytea not null
);
alter table affidavit.registry_entries owner to affidavit_owner;
alter table affidavit.registry_entries add constraint registry_entries_kind_check CHECK ((kind = ANY (ARRAY['epoch'::text, 'key'::text, 'continues'::text])));
alter table affidavit.registry_entries add constraint registry_entries_pkey PRIMARY KEY (index);
CREATE INDEX registry_entries_kind ON affidavit.registry_entries USING btree (index) WHERE (kind <> 'epoch'::text);
grant insert, select, update on affidavit.registry_entries to affidavit_notary;
grant select on affidavit.registry_entries to affidavit_follower;
grant select on affidavit.registry_entries to affidavit_keeper;
grant select on affidavit.registry_entries to affidavit_operator_reader;
grant select on affidavit.registry_entries to affidavit_reader;
grant select on affidavit.registry_entries to affidavit_scrub;

create table affidavit.registry_epochs (
  number bigint not null,
  index bigint not null,
  at timestamp with time zone not null,
  depth smallint not null,
  audit boolean not null default false,
  root bytea not null,
  crown bytea storage external
);
alter table affidavit.registry_epochs owner to affidavit_owner;
alter table affidavit.registry_epochs add constraint registry_epochs_pkey PRIMARY KEY (number);
CREATE INDEX registry_epochs_audit ON affidavit.registry_epochs USING btree (number) WHERE audit;
grant insert, select, update on affidavit.registry_epochs to affidavit_notary;
grant select on affidavit.registry_epochs to affidavit_follower;
grant select on affidavit.registry_epochs to affidavit_keeper;
grant select on affidavit.registry_epochs to affidavit_scrub;
grant select (number, index, at, depth, audit, root) on affidavit.registry_epochs to affidavit_operator_reader;
grant select (number, index, at, depth, audit, root) on affidavit.registry_epochs to affidavit_reader;

create table affidavit.registry_notes (
  size bigint not null,
  epoch bigint not null,
  root bytea not null,
  note text not null,
  signed_at timestamp with time zone not null default clock_timestamp(),
  quorum_at timestamp with time zone
);
alter table affidavit.registry_notes owner to affidavit_owner;
alter table affidavit.registry_notes add constraint registry_notes_pkey PRIMARY KEY (size);
CREATE INDEX registry_notes_quorum ON affidavit.registry_notes USING btree (size) WHERE (quorum_at IS NOT NULL);
grant insert, select, update on affidavit.registry_notes to affidavit_notary;
grant select on affidavit.registry_notes to affidavit_follower;
grant select on affidavit.registry_notes to affidavit_operator_reader;
grant select on affidavit.registry_notes to affidavit_reader;
grant select on affidavit.registry_notes to affidavit_scrub;

create table affidavit.registry_pending (
  number bigint not null generated always as identity,
  entry text not null
);
alter table affidavit.registry_pending owner to affidavit_owner;
alter table affidavit.registry_pending add constraint registry_pending_entry_key UNIQUE (entry);
alter table affidavit.registry_pending add constraint registry_pending_pkey PRIMARY KEY (number);
grant delete, select on affidavit.registry_pending to affidavit_notary;
grant insert, select on affidavit.registry_pending to affidavit_keeper;
grant select on affidavit.registry_pending to affidavit_follower;
grant select on affidavit.registry_pending to affidavit_scrub;

create table affidavit.registry_tiles (
  level smallint not null,
  index bigint not null,
  hashes bytea not null storage external
);
alter table affidavit.registry_tiles owner to affidavit_owner;
alter table affidavit.registry_tiles add constraint registry_tiles_pkey PRIMARY KEY (level, index);
grant insert, select, update on affidavit.registry_tiles to affidavit_notary;
grant select on affidavit.registry_tiles to affidavit_follower;
grant select on affidavit.registry_tiles to affidavit_operator_reader;
grant select on affidavit.registry_tiles to affidavit_reader;
grant select on affidavit.registry_tiles to affidavit_scrub;

create table affidavit.retention_visits (
  tenant integer not null,
  day date not null,
  held boolean not null default false
);
alter table affidavit.retention_visits owner to affidavit_owner;
alter table affidavit.retention_visits add constraint retention_visits_pkey PRIMARY KEY (tenant);
alter table affidavit.retention_visits add constraint retention_visits_tenant_fkey FOREIGN KEY (tenant) REFERENCES affidavit.tenants(number);
grant insert, select, update on affidavit.retention_visits to affidavit_retention;

create table affidavit.scrub (
  one boolean not null default true,
  round bigint not null default 0,
  trail integer not null default 0,
  seq bigint not null default 0,
  range bytea not null default '\x'::bytea,
  previous bytea,
  checked bigint not null default 0,
  total bigint not null default 0,
  started_at timestamp with time zone,
  finished_at timestamp with time zone
);
alter table affidavit.scrub owner to affidavit_owner;
alter table affidavit.scrub add constraint scrub_one_check CHECK (one);
alter table affidavit.scrub add constraint scrub_pkey PRIMARY KEY (one);
grant select, update on affidavit.scrub to affidavit_scrub;

create table affidavit.scrub_findings (
  number bigint not null generated always as identity,
  trail integer not null,
  seq bigint,
  what text not null,
  message text not null,
  print text not null,
  found_at timestamp with time zone not null default clock_timestamp(),
  acknowledged_at timestamp with time zone,
  acknowledged_by text,
  reason text
);
alter table affidavit.scrub_findings owner to affidavit_owner;
alter table affidavit.scrub_findings add constraint scrub_findings_pkey PRIMARY KEY (number);
alter table affidavit.scrub_findings add constraint scrub_findings_trail_fkey FOREIGN KEY (trail) REFERENCES affidavit.trails(number);
alter table affidavit.scrub_findings add constraint scrub_findings_trail_seq_what_print_key UNIQUE NULLS NOT DISTINCT (trail, seq, what, print);
CREATE INDEX scrub_findings_open ON affidavit.scrub_findings USING btree (trail) WHERE (acknowledged_at IS NULL);
grant insert, select, update on affidavit.scrub_findings to affidavit_scrub;

create table affidavit.settings (
  name text not null,
  value jsonb not null
);
alter table affidavit.settings owner to affidavit_owner;
alter table affidavit.settings add constraint settings_pkey PRIMARY KEY (name);
grant select on affidavit.settings to affidavit_follower;
grant select on affidavit.settings to affidavit_ingest;
grant select on affidavit.settings to affidavit_keeper;
grant select on affidavit.settings to affidavit_notary;
grant select on affidavit.settings to affidavit_operator_reader;
grant select on affidavit.settings to affidavit_reader;
grant select on affidavit.settings to affidavit_retention;
grant select on affidavit.settings to affidavit_scrub;
grant select on affidavit.settings to affidavit_sealer;

create table affidavit.shards (
  shard smallint not null,
  "position" bigint not null default 0,
  sealed_at timestamp with time zone not null default '1970-01-01 00:00:00+00'::timestamp with time zone,
  fence bigint not null default 0,
  key_epoch bigint not null default 0
) with (fillfactor=10);
alter table affidavit.shards owner to affidavit_owner;
alter table affidavit.shards add constraint shards_pkey PRIMARY KEY (shard);
grant select on affidavit.shards to affidavit_follower;
grant select on affidavit.shards to affidavit_ingest;
grant select on affidavit.shards to affidavit_notary;
grant select on affidavit.shards to affidavit_operator_reader;
grant select on affidavit.shards to affidavit_reader;
grant select on affidavit.shards to affidavit_scrub;
grant select on affidavit.shards to affidavit_sealer;

create table affidavit.slot_bodies (
  size bigint not null,
  epoch bigint not null,
  slot integer not null,
  trail_id uuid not null,
  root bytea not null
);
alter table affidavit.slot_bodies owner to affidavit_owner;
alter table affidavit.slot_bodies add constraint slot_bodies_pkey PRIMARY KEY (slot, epoch);
CREATE INDEX slot_bodies_epoch ON affidavit.slot_bodies USING btree (epoch);
grant insert, select, update on affidavit.slot_bodies to affidavit_notary;
grant select on affidavit.slot_bodies to affidavit_follower;
grant select on affidavit.slot_bodies to affidavit_keeper;
grant select on affidavit.slot_bodies to affidavit_scrub;

create table affidavit.slot_space (
  one boolean not null default true,
  depth smallint not null default 8,
  used integer not null default 0
) with (fillfactor=50);
alter table affidavit.slot_space owner to affidavit_owner;
alter table affidavit.slot_space add constraint slot_space_one_check CHECK (one);
alter table affidavit.slot_space add constraint slot_space_pkey PRIMARY KEY (one);
grant select on affidavit.slot_space to affidavit_follower;
grant select on affidavit.slot_space to affidavit_keeper;
grant select on affidavit.slot_space to affidavit_notary;
grant select on affidavit.slot_space to affidavit_scrub;

create table affidavit.slots (
  slot integer not null,
  tenant integer not null,
  trail integer not null,
  size bigint not null default 0,
  tombstone_at timestamp with time zone
) with (fillfactor=50);
alter table affidavit.slots owner to affidavit_owner;
alter table affidavit.slots add constraint slots_pkey PRIMARY KEY (slot);
alter table affidavit.slots add constraint slots_tenant_key UNIQUE (tenant);
alter table affidavit.slots add constraint slots_trail_key UNIQUE (trail);
grant select on affidavit.slots to affidavit_follower;
grant select on affidavit.slots to affidavit_keeper;
grant select on affidavit.slots to affidavit_scrub;
grant select, update on affidavit.slots to affidavit_notary;

create table affidavit.subjects (
  number bigint not null generated always as identity,
  tenant integer not null,
  token uuid not null,
  id_token bigint,
  key_id uuid not null default gen_random_uuid(),
  created_at timestamp with time zone not null default now(),
  erased_at timestamp with time zone
);
alter table affidavit.subjects owner to affidavit_owner;
alter table affidavit.subjects enable row level security;
alter table affidavit.subjects force row level security;
alter table affidavit.subjects add constraint subjects_pkey PRIMARY KEY (number);
alter table affidavit.subjects add constraint subjects_tenant_token_key UNIQUE (tenant, token);
CREATE INDEX subjects_id ON affidavit.subjects USING btree (tenant, id_token) WHERE (id_token IS NOT NULL);
create policy followers on affidavit.subjects for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy ingest on affidavit.subjects for all to affidavit_ingest using (true) with check (true);
create policy owner_all on affidavit.subjects for all to affidavit_owner using (true) with check (true);
create policy retention on affidavit.subjects for select to affidavit_retention using (true);
create policy tenant on affidavit.subjects for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant insert, select on affidavit.subjects to affidavit_ingest;
grant select on affidavit.subjects to affidavit_follower;
grant select on affidavit.subjects to affidavit_notary;
grant select on affidavit.subjects to affidavit_operator_reader;
grant select on affidavit.subjects to affidavit_reader;
grant select on affidavit.subjects to affidavit_retention;
grant select on affidavit.subjects to affidavit_scrub;

create table affidavit.tenants (
  number integer not null generated always as identity,
  id text not null,
  name text,
  operator boolean not null default false,
  state text not null default 'open'::text,
  policy jsonb not null default '{}'::jsonb,
  created_at timestamp with time zone not null default now(),
  changed_at timestamp with time zone not null default '1970-01-01 00:00:00+00'::timestamp with time zone
);
alter table affidavit.tenants owner to affidavit_owner;
alter table affidavit.tenants enable row level security;
alter table affidavit.tenants force row level security;
alter table affidavit.tenants add constraint tenants_id_key UNIQUE (id);
alter table affidavit.tenants add constraint tenants_pkey PRIMARY KEY (number);
alter table affidavit.tenants add constraint tenants_state_check CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text])));
CREATE INDEX tenants_changed ON affidavit.tenants USING btree (changed_at);
create policy followers on affidavit.tenants for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy ingest on affidavit.tenants for select to affidavit_ingest, affidavit_keeper using (true);
create policy owner_all on affidavit.tenants for all to affidavit_owner using (true) with check (true);
create policy retention on affidavit.tenants for select to affidavit_retention using (true);
create policy tenant on affidavit.tenants for select to affidavit_operator_reader, affidavit_reader using ((number = affidavit.current_tenant()));
grant select on affidavit.tenants to affidavit_follower;
grant select on affidavit.tenants to affidavit_ingest;
grant select on affidavit.tenants to affidavit_keeper;
grant select on affidavit.tenants to affidavit_notary;
grant select on affidavit.tenants to affidavit_operator_reader;
grant select on affidavit.tenants to affidavit_reader;
grant select on affidavit.tenants to affidavit_retention;
grant select on affidavit.tenants to affidavit_scrub;
grant select on affidavit.tenants to affidavit_sealer;

create table affidavit.tiles (
  trail integer not null,
  level smallint not null,
  index bigint not null,
  hashes bytea not null storage external
);
alter table affidavit.tiles owner to affidavit_owner;
alter table affidavit.tiles enable row level security;
alter table affidavit.tiles force row level security;
alter table affidavit.tiles add constraint tiles_pkey PRIMARY KEY (trail, level, index);
create policy followers on affidavit.tiles for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy notary on affidavit.tiles for all to affidavit_notary using (true) with check (true);
create policy owner_all on affidavit.tiles for all to affidavit_owner using (true) with check (true);
create policy recovery on affidavit.tiles for select to affidavit_keeper using (true);
create policy tenant on affidavit.tiles for select to affidavit_operator_reader, affidavit_reader using ((trail IN ( SELECT trails.number
   FROM affidavit.trails
  WHERE (trails.tenant = affidavit.current_tenant()))));
grant insert, select, update on affidavit.tiles to affidavit_notary;
grant select on affidavit.tiles to affidavit_follower;
grant select on affidavit.tiles to affidavit_keeper;
grant select on affidavit.tiles to affidavit_operator_reader;
grant select on affidavit.tiles to affidavit_reader;
grant select on affidavit.tiles to affidavit_scrub;

create table affidavit.trails (
  number integer not null generated always as identity,
  id uuid not null,
  tenant integer not null,
  ordinal integer not null default 0,
  shard smallint not null,
  created_at timestamp with time zone not null default now()
);
alter table affidavit.trails owner to affidavit_owner;
alter table affidavit.trails enable row level security;
alter table affidavit.trails force row level security;
alter table affidavit.trails add constraint trails_id_key UNIQUE (id);
alter table affidavit.trails add constraint trails_pkey PRIMARY KEY (number);
alter table affidavit.trails add constraint trails_tenant_fkey FOREIGN KEY (tenant) REFERENCES affidavit.tenants(number);
alter table affidavit.trails add constraint trails_tenant_ordinal_key UNIQUE (tenant, ordinal);
create policy followers on affidavit.trails for select to affidavit_follower, affidavit_notary, affidavit_scrub using (true);
create policy ingest on affidavit.trails for select to affidavit_ingest, affidavit_keeper using (true);
create policy owner_all on affidavit.trails for all to affidavit_owner using (true) with check (true);
create policy retention on affidavit.trails for select to affidavit_retention using (true);
create policy tenant on affidavit.trails for select to affidavit_operator_reader, affidavit_reader using ((tenant = affidavit.current_tenant()));
grant select on affidavit.trails to affidavit_follower;
grant select on affidavit.trails to affidavit_ingest;
grant select on affidavit.trails to affidavit_keeper;
grant select on affidavit.trails to affidavit_notary;
grant select on affidavit.trails to affidavit_operator_reader;
grant select on affidavit.trails to affidavit_reader;
grant select on affidavit.trails to affidavit_retention;
grant select on affidavit.trails to affidavit_scrub;
grant select on affidavit.trails to affidavit_sealer;

create table keeper.api_keys (
  id text not null,
  tenant integer,
  name text not null,
  scopes text[] not null,
  secret_hash bytea not null,
  internal boolean not null default false,
  created_at timestamp with time zone not null default now(),
  created_by text,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  last_used_at timestamp with time zone
);
alter table keeper.api_keys owner to affidavit_owner;
alter table keeper.api_keys add constraint api_keys_pkey PRIMARY KEY (id);
CREATE INDEX api_keys_tenant ON keeper.api_keys USING btree (tenant);
grant insert, select, update on keeper.api_keys to affidavit_keeper;

create table keeper.buckets (
  number bigint not null generated always as identity,
  tenant integer not null,
  generation integer not null,
  subjects integer not null default 0,
  wrapped bytea not null,
  renewed integer not null default 0
);
alter table keeper.buckets owner to affidavit_owner;
alter table keeper.buckets add constraint buckets_pkey PRIMARY KEY (number);
CREATE INDEX buckets_generation ON keeper.buckets USING btree (tenant, generation);
CREATE INDEX buckets_tenant ON keeper.buckets USING btree (tenant, number);
grant insert, select, update on keeper.buckets to affidavit_keeper;

create table keeper.destroyed_keys (
  number bigint not null generated always as identity,
  tenant integer not null,
  bucket bigint not null,
  at timestamp with time zone not null default clock_timestamp()
);
alter table keeper.destroyed_keys owner to affidavit_owner;
alter table keeper.destroyed_keys add constraint destroyed_keys_pkey PRIMARY KEY (number);
CREATE INDEX destroyed_keys_tenant ON keeper.destroyed_keys USING btree (tenant, bucket);
grant delete, insert, select on keeper.destroyed_keys to affidavit_keeper;

create table keeper.generations (
  tenant integer not null,
  current integer not null default 0,
  newest integer not null default 0
);
alter table keeper.generations owner to affidavit_owner;
alter table keeper.generations add constraint generations_pkey PRIMARY KEY (tenant);
grant insert, select, update on keeper.generations to affidavit_keeper;

create table keeper.rotations (
  tenant integer not null,
  next integer not null,
  retiring integer[] not null,
  started_at timestamp with time zone not null default clock_timestamp()
);
alter table keeper.rotations owner to affidavit_owner;
alter table keeper.rotations add constraint rotations_pkey PRIMARY KEY (tenant);
grant delete, insert, select, update on keeper.rotations to affidavit_keeper;

create table keeper.subject_keys (
  subject bigint not null,
  tenant integer not null,
  bucket bigint not null,
  wrapped bytea not null
);
alter table keeper.subject_keys owner to affidavit_owner;
alter table keeper.subject_keys add constraint subject_keys_bucket_fkey FOREIGN KEY (bucket) REFERENCES keeper.buckets(number);
alter table keeper.subject_keys add constraint subject_keys_pkey PRIMARY KEY (subject);
CREATE INDEX subject_keys_bucket ON keeper.subject_keys USING btree (bucket);
grant delete, insert, select, update on keeper.subject_keys to affidavit_keeper;

create table keeper.tenant_keys (
  tenant integer not null,
  kind text not null,
  generation integer not null,
  wrapped bytea not null
);
alter table keeper.tenant_keys owner to affidavit_owner;
alter table keeper.tenant_keys add constraint tenant_keys_kind_check CHECK ((kind = ANY (ARRAY['data'::text, 'index'::text])));
alter table keeper.tenant_keys add constraint tenant_keys_pkey PRIMARY KEY (tenant, kind, generation);
grant insert, select, update on keeper.tenant_keys to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.admit_personas(p_tenants integer[], p_subjects bigint[], p_digests uuid[], p_contents bytea[], p_token_of integer[], p_tokens bigint[])
 RETURNS TABLE(number bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.admit_personas(integer[],bigint[],uuid[],bytea[],integer[],bigint[]) owner to affidavit_owner;
revoke all on function affidavit.admit_personas(integer[],bigint[],uuid[],bytea[],integer[],bigint[]) from public;
grant execute on function affidavit.admit_personas(integer[],bigint[],uuid[],bytea[],integer[],bigint[]) to affidavit_ingest;

CREATE OR REPLACE FUNCTION affidavit.admit_subjects(p_tenants integer[], p_tokens uuid[], p_id_tokens bigint[])
 RETURNS TABLE(number bigint, key_id uuid)
 LANGUAGE plpgsql
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.admit_subjects(integer[],uuid[],bigint[]) owner to affidavit_owner;
revoke all on function affidavit.admit_subjects(integer[],uuid[],bigint[]) from public;
grant execute on function affidavit.admit_subjects(integer[],uuid[],bigint[]) to affidavit_ingest;

CREATE OR REPLACE FUNCTION affidavit.advance(p_shards smallint[], p_positions bigint[], p_counts integer[], p_fences bigint[], p_key_epochs bigint[], p_sealed_at timestamp with time zone, p_trails integer[], p_before bigint[], p_after bigint[], p_hashes bytea[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.advance(smallint[],bigint[],integer[],bigint[],bigint[],timestamp with time zone,integer[],bigint[],bigint[],bytea[]) owner to affidavit_owner;
revoke all on function affidavit.advance(smallint[],bigint[],integer[],bigint[],bigint[],timestamp with time zone,integer[],bigint[],bigint[],bytea[]) from public;
grant execute on function affidavit.advance(smallint[],bigint[],integer[],bigint[],bigint[],timestamp with time zone,integer[],bigint[],bigint[],bytea[]) to affidavit_sealer;

CREATE OR REPLACE FUNCTION affidavit.announcement(p_trail integer, p_seq bigint, p_kind text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
declare
  v_control text;
begin
  select control into v_control from events where trail = p_trail and seq = p_seq;
  if v_control is null or split_part(v_control, ' ', 1) <> p_kind then
    raise exception 'entry % of trail % is no % entry', p_seq, p_trail, p_kind using errcode = 'AF021';
  end if;
  return v_control;
end $function$;
alter function affidavit.announcement(integer,bigint,text) owner to affidavit_owner;
revoke all on function affidavit.announcement(integer,bigint,text) from public;

CREATE OR REPLACE FUNCTION affidavit.attach_cosignature(p_size bigint, p_witness text, p_line text, p_cosigned_at timestamp with time zone)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  insert into registry_cosignatures (size, witness, line, cosigned_at)
    select p_size, p_witness, p_line, p_cosigned_at where exists (select from registry_notes where size = p_size)
    on conflict (size, witness) do update set line = excluded.line, cosigned_at = excluded.cosigned_at
      where excluded.cosigned_at > registry_cosignatures.cosigned_at;
$function$;
alter function affidavit.attach_cosignature(bigint,text,text,timestamp with time zone) owner to affidavit_owner;
revoke all on function affidavit.attach_cosignature(bigint,text,text,timestamp with time zone) from public;
grant execute on function affidavit.attach_cosignature(bigint,text,text,timestamp with time zone) to affidavit_notary;

CREATE OR REPLACE FUNCTION affidavit.begin_registry(p_origin text, p_entries text[], p_epoch bigint DEFAULT 0, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
begin
  update registry set origin = p_origin, epoch = p_epoch, at = p_at, pruned = p_epoch where epoch = 0 and origin is null;
  if not found then raise exception 'the registry has begun' using errcode = 'AF013'; end if;
  insert into registry_pending (entry) select * from unnest(p_entries);
end $function$;
alter function affidavit.begin_registry(text,text[],bigint,timestamp with time zone) owner to affidavit_owner;
revoke all on function affidavit.begin_registry(text,text[],bigint,timestamp with time zone) from public;
grant execute on function affidavit.begin_registry(text,text[],bigint,timestamp with time zone) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.close_day(p_day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
 SET max_parallel_maintenance_workers TO '0'
AS $function$
declare
  v_name text := 'events_' || to_char(p_day, 'YYYYMMDD');
  v_ids text := 'event_ids_' || to_char(p_day - 6, 'YYYYMMDD'); -- of the week that ends with a Sunday
begin
  if p_day >= (clock_timestamp() at time zone 'UTC')::date then
    raise exception 'day % is not over', p_day using errcode = 'AF009';
  end if;
  perform from event_days where day = p_day and closed_at is null for update skip locked;
  if not found then return false; end if;
  execute format('create index %I on %I (tenant, seq) where flags & 1 = 0', v_name || '_overflow', v_name);
  perform index_events(v_name, '');
  if to_regclass(v_ids) is not null then
    execute format('create unique index %I on %I (id) with (fillfactor = 100)', v_ids || '_id', v_ids);
  end if;
  -- Terms that come in one ascending run leave every page of the index half empty, for a full page is split in the
  -- middle. Memory for a part of them at a time makes several runs, each of which fills the gaps of those before.
  perform set_config('maintenance_work_mem', least(pg_size_bytes(current_setting('maintenance_work_mem')),
    greatest(1048576, pg_relation_size(v_name::regclass) / 6)) / 1024 || 'kB', true);
  execute format('create index %I on %I using gin ((terms[2:])) with (fastupdate = off)', v_name || '_terms', v_name);
  execute format('analyze %I', v_name);
  update event_days set closed_at = clock_timestamp() where day = p_day;
  return true;
end $function$;
alter function affidavit.close_day(date) owner to affidavit_owner;
revoke all on function affidavit.close_day(date) from public;
grant execute on function affidavit.close_day(date) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.close_tenant(p_tenant integer)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  update tenants set state = 'closed', changed_at = clock_timestamp() where number = p_tenant and state <> 'closed';
$function$;
alter function affidavit.close_tenant(integer) owner to affidavit_owner;
revoke all on function affidavit.close_tenant(integer) from public;
grant execute on function affidavit.close_tenant(integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.continue_trail(p_tenant integer, p_trail uuid, p_shard smallint)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.continue_trail(integer,uuid,smallint) owner to affidavit_owner;
revoke all on function affidavit.continue_trail(integer,uuid,smallint) from public;
grant execute on function affidavit.continue_trail(integer,uuid,smallint) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.control_entries(p_trail integer, p_from bigint)
 RETURNS TABLE(seq bigint, sealed_at timestamp with time zone, control text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select e.seq, e.sealed_at, e.control from events e where e.trail = p_trail and e.seq >= p_from and e.control is not null order by e.seq;
$function$;
alter function affidavit.control_entries(integer,bigint) owner to affidavit_owner;
revoke all on function affidavit.control_entries(integer,bigint) from public;
grant execute on function affidavit.control_entries(integer,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.create_day(p_day date)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.create_day(date) owner to affidavit_owner;
revoke all on function affidavit.create_day(date) from public;
grant execute on function affidavit.create_day(date) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.create_partitions(p_today date, p_days integer)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
begin
  for i in 0..p_days loop
    perform affidavit.create_day(p_today + i);
  end loop;
  for i in 0..(p_days / 7 + 1) loop
    perform affidavit.create_week(date_trunc('week', p_today)::date + 7 * i);
  end loop;
end $function$;
alter function affidavit.create_partitions(date,integer) owner to affidavit_owner;
revoke all on function affidavit.create_partitions(date,integer) from public;
grant execute on function affidavit.create_partitions(date,integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.create_tenant(p_id text, p_name text, p_operator boolean, p_trail uuid, p_shard smallint, p_data_key bytea, p_index_key bytea)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.create_tenant(text,text,boolean,uuid,smallint,bytea,bytea) owner to affidavit_owner;
revoke all on function affidavit.create_tenant(text,text,boolean,uuid,smallint,bytea,bytea) from public;
grant execute on function affidavit.create_tenant(text,text,boolean,uuid,smallint,bytea,bytea) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.create_week(p_week date)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.create_week(date) owner to affidavit_owner;
revoke all on function affidavit.create_week(date) from public;
grant execute on function affidavit.create_week(date) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.current_tenant()
 RETURNS integer
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN (NULLIF(current_setting('affidavit.tenant'::text, true), ''::text))::integer;
alter function affidavit.current_tenant() owner to affidavit_owner;
grant execute on function affidavit.current_tenant() to public;

CREATE OR REPLACE FUNCTION affidavit.days_due()
 RETURNS TABLE(day date, closed boolean)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select d.day, d.closed_at is not null from event_days d
    where d.day < ((clock_timestamp() - interval '10 minutes') at time zone 'UTC')::date
      and case when d.closed_at is null then not exists (select from cursors c where c.day <= d.day)
        else to_regclass('events_' || to_char(d.day, 'YYYYMMDD') || '_place_open') is not null end
    order by d.day;
$function$;
alter function affidavit.days_due() owner to affidavit_owner;
revoke all on function affidavit.days_due() from public;
grant execute on function affidavit.days_due() to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.deepen_slots(p_depth smallint)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  update slot_space set depth = p_depth where depth < p_depth;
$function$;
alter function affidavit.deepen_slots(smallint) owner to affidavit_owner;
revoke all on function affidavit.deepen_slots(smallint) from public;
grant execute on function affidavit.deepen_slots(smallint) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.destroy_tenant(p_trail integer, p_control bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.destroy_tenant(integer,bigint) owner to affidavit_owner;
revoke all on function affidavit.destroy_tenant(integer,bigint) from public;
grant execute on function affidavit.destroy_tenant(integer,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.drop_payload(p_trail integer, p_control bigint, p_low bigint, p_high bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
begin
  if announcement(p_trail, p_control, 'close') <> 'close deleted' then
    raise exception 'entry % of trail % deletes nobody', p_control, p_trail using errcode = 'AF021';
  end if;
  return remove_payload(p_trail, p_control, p_low, p_high, null, null);
end $function$;
alter function affidavit.drop_payload(integer,bigint,bigint,bigint) owner to affidavit_owner;
revoke all on function affidavit.drop_payload(integer,bigint,bigint,bigint) from public;
grant execute on function affidavit.drop_payload(integer,bigint,bigint,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.drop_people(p_tenant integer, p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.drop_people(integer,integer) owner to affidavit_owner;
revoke all on function affidavit.drop_people(integer,integer) from public;
grant execute on function affidavit.drop_people(integer,integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.drop_personas(p_subjects bigint[], p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
declare
  v_erased bigint[];
  v_tokens int;
  v_personas int;
begin
  select array_agg(number) into v_erased from subjects where number = any (p_subjects) and erased_at is not null;
  delete from persona_tokens where ctid = any (array (select ctid from persona_tokens where subject = any (v_erased) limit p_limit));
  get diagnostics v_tokens = row_count;
  if v_tokens = p_limit then return v_tokens; end if;
  delete from personas where ctid = any (array (select ctid from personas where subject = any (v_erased) limit p_limit));
  get diagnostics v_personas = row_count;
  return v_tokens + v_personas;
end $function$;
alter function affidavit.drop_personas(bigint[],integer) owner to affidavit_owner;
revoke all on function affidavit.drop_personas(bigint[],integer) from public;
grant execute on function affidavit.drop_personas(bigint[],integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.entomb_slot(p_tenant integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
begin
  update slots s set tombstone_at = coalesce(tombstone_at, clock_timestamp())
    where s.tenant = p_tenant and (s.tombstone_at is not null or s.size = (select size from heads h where h.trail = s.trail));
  return found;
end $function$;
alter function affidavit.entomb_slot(integer) owner to affidavit_owner;
revoke all on function affidavit.entomb_slot(integer) from public;
grant execute on function affidavit.entomb_slot(integer) to affidavit_keeper;
grant execute on function affidavit.entomb_slot(integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.erase_subjects(p_trail integer, p_control bigint, p_subjects bigint[], p_checked bigint)
 RETURNS TABLE(holds uuid[], key_epoch bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
  v_ids text[] := (string_to_array(announcement(p_trail, p_control, 'erase'), ' '))[2:];
  v_trail trails;
  v_epoch bigint;
  v_holds uuid[];
  v_gone int;
begin
  select * into strict v_trail from trails where number = p_trail;
  if exists (select from unnest(p_subjects) as n left join subjects s on s.number = n and s.tenant = v_trail.tenant
      where s.number is null or replace(s.key_id::text, '-', '') <> all (v_ids)) then
    raise exception 'entry % of trail % names other subjects', p_control, p_trail using errcode = 'AF021';
  end if;
  perform from keeper.buckets where number in (select bucket from keeper.subject_keys where subject = any (p_subjects)) order by number for update;
  update shards s set key_epoch = s.key_epoch + 1 where s.shard = v_trail.shard returning s.key_epoch into v_epoch;
  v_holds := holds_on_subjects(p_trail, p_subjects, p_checked, null, p_control);
  if v_holds <> '{}' then
    return query select v_holds, v_epoch;
    return;
  end if;
  -- Whoever adds a key or a persona to one of them holds its row; afterwards nobody can.
  update subjects set token = gen_random_uuid(), erased_at = clock_timestamp() where number = any (p_subjects) and erased_at is null;
  get diagnostics v_gone = row_count;
  with gone as (delete from keeper.subject_keys where subject = any (p_subjects) returning bucket)
    insert into keeper.destroyed_keys (tenant, bucket) select distinct v_trail.tenant, bucket from gone;
  if v_gone > 0 then
    insert into messages (kind, tenant, trail, seq, data)
      select 'subject.erased', v_trail.tenant, p_trail, p_control,
        jsonb_build_object('key_ids', (select jsonb_agg(replace(key_id::text, '-', '') order by key_id) from subjects where number = any (p_subjects)),
          'subjects', to_jsonb(p_subjects));
  end if;
  return query select '{}'::uuid[], v_epoch;
end $function$;
alter function affidavit.erase_subjects(integer,bigint,bigint[],bigint) owner to affidavit_owner;
revoke all on function affidavit.erase_subjects(integer,bigint,bigint[],bigint) from public;
grant execute on function affidavit.erase_subjects(integer,bigint,bigint[],bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.fence(p_shard smallint)
 RETURNS affidavit.shards
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  update shards set fence = fence + 1 where shard = p_shard returning *;
$function$;
alter function affidavit.fence(smallint) owner to affidavit_owner;
revoke all on function affidavit.fence(smallint) from public;
grant execute on function affidavit.fence(smallint) to affidavit_sealer;

CREATE OR REPLACE FUNCTION affidavit.find(p_trail integer, p_low bigint, p_high bigint, p_first_day date, p_last_day date, p_terms integer[], p_lengths integer[], p_actors bigint[], p_actions integer[], p_limit integer, p_newest_first boolean)
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
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
end $function$;
alter function affidavit.find(integer,bigint,bigint,date,date,integer[],integer[],bigint[],integer[],integer,boolean) owner to affidavit_finder;
revoke all on function affidavit.find(integer,bigint,bigint,date,date,integer[],integer[],bigint[],integer[],integer,boolean) from public;
grant execute on function affidavit.find(integer,bigint,bigint,date,date,integer[],integer[],bigint[],integer[],integer,boolean) to affidavit_operator_reader;
grant execute on function affidavit.find(integer,bigint,bigint,date,date,integer[],integer[],bigint[],integer[],integer,boolean) to affidavit_reader;

CREATE OR REPLACE FUNCTION affidavit.first_sealed_after(p_trail integer, p_time timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.first_sealed_after(integer,timestamp with time zone) owner to affidavit_owner;
revoke all on function affidavit.first_sealed_after(integer,timestamp with time zone) from public;
grant execute on function affidavit.first_sealed_after(integer,timestamp with time zone) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.free_slot()
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.free_slot() owner to affidavit_owner;
revoke all on function affidavit.free_slot() from public;
grant execute on function affidavit.free_slot() to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.has_line(p_personal bytea, p_subjects bigint[])
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select exists (select from generate_series(0, length(p_personal) / 48 - 1) as n
    where ('x' || encode(substring(p_personal from n * 48 + 1 for 8), 'hex'))::bit(64)::bigint = any (p_subjects));
$function$;
alter function affidavit.has_line(bytea,bigint[]) owner to affidavit_owner;
revoke all on function affidavit.has_line(bytea,bigint[]) from public;

CREATE OR REPLACE FUNCTION affidavit.hash_at(p_shard smallint, p_position bigint, p_day date)
 RETURNS bytea
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select hash from events where shard = p_shard and position = p_position and day = p_day;
$function$;
alter function affidavit.hash_at(smallint,bigint,date) owner to affidavit_owner;
revoke all on function affidavit.hash_at(smallint,bigint,date) from public;
grant execute on function affidavit.hash_at(smallint,bigint,date) to affidavit_sealer;

CREATE OR REPLACE FUNCTION affidavit.holds_on_entries(p_trail integer, p_seqs bigint[], p_at bigint)
 RETURNS uuid[]
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select coalesce(array_agg(h.id order by h.seq), '{}') from holds h where h.trail = p_trail and was_in_force(h, p_at)
    and (p_seqs is null or h.scope = 'trail'
    or (h.scope = 'entries' and exists (select from unnest(p_seqs) s where s >= h.low and s < h.high))
    or (h.scope = 'subjects' and exists (select from events e where e.trail = p_trail and e.seq = any (p_seqs)
      and e.personal is not null and has_line(e.personal, h.subjects))));
$function$;
alter function affidavit.holds_on_entries(integer,bigint[],bigint) owner to affidavit_owner;
revoke all on function affidavit.holds_on_entries(integer,bigint[],bigint) from public;
grant execute on function affidavit.holds_on_entries(integer,bigint[],bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.holds_on_subjects(p_trail integer, p_subjects bigint[], p_low bigint, p_high bigint, p_at bigint)
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.holds_on_subjects(integer,bigint[],bigint,bigint,bigint) owner to affidavit_owner;
revoke all on function affidavit.holds_on_subjects(integer,bigint[],bigint,bigint,bigint) from public;
grant execute on function affidavit.holds_on_subjects(integer,bigint[],bigint,bigint,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.index_events(p_name text, p_suffix text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
declare
  -- An open day's grow in the middle, a closed day's not at all.
  v_with text := format('with (fillfactor = %s)', case p_suffix when '' then 100 else 90 end);
begin
  execute format('create unique index %I on %I (trail, seq) %s', p_name || '_place' || p_suffix, p_name, v_with);
  execute format('create index %I on %I (actor, action, seq) %s where actor is not null', p_name || '_actor' || p_suffix, p_name, v_with);
  execute format('create index %I on %I (action, seq) %s where action is not null', p_name || '_action' || p_suffix, p_name, v_with);
  execute format('create index %I on %I ((terms[1])) %s', p_name || '_request' || p_suffix, p_name, v_with);
  execute format('create index %I on %I (trail, seq) %s where control is not null', p_name || '_control' || p_suffix, p_name, v_with);
end $function$;
alter function affidavit.index_events(text,text) owner to affidavit_owner;
revoke all on function affidavit.index_events(text,text) from public;

CREATE OR REPLACE FUNCTION affidavit.is_held(p_trail integer, p_seq bigint, p_personal bytea, p_at bigint)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select exists (select from holds h where h.trail = p_trail and was_in_force(h, p_at) and (h.scope = 'trail'
    or (h.scope = 'entries' and p_seq >= h.low and p_seq < h.high)
    or (h.scope = 'subjects' and p_personal is not null and has_line(p_personal, h.subjects))));
$function$;
alter function affidavit.is_held(integer,bigint,bytea,bigint) owner to affidavit_owner;
revoke all on function affidavit.is_held(integer,bigint,bytea,bigint) from public;

CREATE OR REPLACE FUNCTION affidavit.leaf_hashes(p_trail integer, p_seqs bigint[])
 RETURNS TABLE(seq bigint, hash bytea)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select s, coalesce((select e.hash from events e where e.trail = p_trail and e.seq = s),
      (select substring(t.hashes from (s % 256 * 32)::int + 1 for 32) from tiles t
        where t.trail = p_trail and t.level = 0 and t.index = s / 256))
    from unnest(p_seqs) as s
    where s < (select size from heads where trail = p_trail);
$function$;
alter function affidavit.leaf_hashes(integer,bigint[]) owner to affidavit_owner;
revoke all on function affidavit.leaf_hashes(integer,bigint[]) from public;
grant execute on function affidavit.leaf_hashes(integer,bigint[]) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.lock_forgetting(p_trail integer)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select pg_advisory_xact_lock(hashtext('affidavit.forget'), p_trail);
$function$;
alter function affidavit.lock_forgetting(integer) owner to affidavit_owner;
revoke all on function affidavit.lock_forgetting(integer) from public;
grant execute on function affidavit.lock_forgetting(integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.lock_shard(p_shard smallint)
 RETURNS affidavit.shards
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select * from shards where shard = p_shard for update;
$function$;
alter function affidavit.lock_shard(smallint) owner to affidavit_owner;
revoke all on function affidavit.lock_shard(smallint) from public;
grant execute on function affidavit.lock_shard(smallint) to affidavit_sealer;

CREATE OR REPLACE FUNCTION affidavit.note_quorum(p_size bigint)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  update registry_notes set quorum_at = clock_timestamp() where size = p_size and quorum_at is null;
$function$;
alter function affidavit.note_quorum(bigint) owner to affidavit_owner;
revoke all on function affidavit.note_quorum(bigint) from public;
grant execute on function affidavit.note_quorum(bigint) to affidavit_notary;

CREATE OR REPLACE FUNCTION affidavit.operator_commitments(p_trail integer, p_seqs bigint[], p_first_day date, p_last_day date)
 RETURNS TABLE(seq bigint, commitment bytea)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select e.seq, substring(e.operator for 32) from events e
  where e.tenant = affidavit.current_tenant() and e.trail = p_trail and e.seq = any(p_seqs)
    and e.day >= p_first_day and e.day <= p_last_day and e.operator is not null;
$function$;
alter function affidavit.operator_commitments(integer,bigint[],date,date) owner to affidavit_owner;
revoke all on function affidavit.operator_commitments(integer,bigint[],date,date) from public;
grant execute on function affidavit.operator_commitments(integer,bigint[],date,date) to affidavit_operator_reader;
grant execute on function affidavit.operator_commitments(integer,bigint[],date,date) to affidavit_reader;

CREATE OR REPLACE FUNCTION affidavit.partitions_ahead()
 RETURNS TABLE(until date, tomorrow boolean)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  with attached as (
    select c.relname::text as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent in ('events'::regclass, 'event_ids'::regclass) and not i.inhdetachpending),
  ahead as (
    select day, 'events_' || to_char(day, 'YYYYMMDD') in (table attached)
        and 'event_ids_' || to_char(date_trunc('week', day), 'YYYYMMDD') in (table attached) as there
      from (select (clock_timestamp() at time zone 'UTC')::date + n as day, n from generate_series(0, 60) as n) as days)
  select (select max(day) from ahead a where there and not exists (select from ahead b where b.day < a.day and not b.there)),
    (select there from ahead order by day offset 1 limit 1);
$function$;
alter function affidavit.partitions_ahead() owner to affidavit_owner;
revoke all on function affidavit.partitions_ahead() from public;
grant execute on function affidavit.partitions_ahead() to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.payload_left(p_trail integer, p_category smallint, p_low bigint, p_high bigint, p_until timestamp with time zone)
 RETURNS TABLE(before bigint, held boolean)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  with found as materialized (select e.seq, e.personal from events e where e.trail = p_trail and e.seq >= p_low and e.seq < p_high
      and e.control is null and e.category = p_category and e.facts is not null and e.sealed_at <= p_until),
    holding as (select exists (select from holds h where h.trail = p_trail and h.released is null) as any_hold),
    split as (select f.seq, holding.any_hold and is_held(p_trail, f.seq, f.personal, null) as held from found f, holding)
  select max(seq) filter (where not held) + 1, coalesce(bool_or(held), false) from split;
$function$;
alter function affidavit.payload_left(integer,smallint,bigint,bigint,timestamp with time zone) owner to affidavit_owner;
revoke all on function affidavit.payload_left(integer,smallint,bigint,bigint,timestamp with time zone) from public;
grant execute on function affidavit.payload_left(integer,smallint,bigint,bigint,timestamp with time zone) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.place_hold(p_trail integer, p_control bigint)
 RETURNS uuid
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.place_hold(integer,bigint) owner to affidavit_owner;
revoke all on function affidavit.place_hold(integer,bigint) from public;
grant execute on function affidavit.place_hold(integer,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.prune(p_trail integer, p_control bigint, p_start bigint, p_from bigint[], p_until timestamp with time zone[], p_entries integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.prune(integer,bigint,bigint,bigint[],timestamp with time zone[],integer) owner to affidavit_owner;
revoke all on function affidavit.prune(integer,bigint,bigint,bigint[],timestamp with time zone[],integer) from public;
grant execute on function affidavit.prune(integer,bigint,bigint,bigint[],timestamp with time zone[],integer) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.prune_registry(p_keep interval, p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.prune_registry(interval,integer) owner to affidavit_owner;
revoke all on function affidavit.prune_registry(interval,integer) from public;
grant execute on function affidavit.prune_registry(interval,integer) to affidavit_notary;

CREATE OR REPLACE FUNCTION affidavit.redact(p_trail integer, p_control bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.redact(integer,bigint) owner to affidavit_owner;
revoke all on function affidavit.redact(integer,bigint) from public;
grant execute on function affidavit.redact(integer,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$;
alter function affidavit.refuse_change() owner to affidavit_owner;
revoke all on function affidavit.refuse_change() from public;

CREATE OR REPLACE FUNCTION affidavit.release_hold(p_trail integer, p_control bigint)
 RETURNS uuid
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
declare
  w text[] := string_to_array(announcement(p_trail, p_control, 'release'), ' ');
begin
  update holds set released = p_control, released_at = (select sealed_at from events where trail = p_trail and seq = p_control)
    where id = w[2]::uuid and trail = p_trail and released is null;
  return w[2]::uuid;
end $function$;
alter function affidavit.release_hold(integer,bigint) owner to affidavit_owner;
revoke all on function affidavit.release_hold(integer,bigint) from public;
grant execute on function affidavit.release_hold(integer,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.remove_payload(p_trail integer, p_control bigint, p_low bigint, p_high bigint, p_category smallint, p_until timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.remove_payload(integer,bigint,bigint,bigint,smallint,timestamp with time zone) owner to affidavit_owner;
revoke all on function affidavit.remove_payload(integer,bigint,bigint,bigint,smallint,timestamp with time zone) from public;

CREATE OR REPLACE FUNCTION affidavit.replay_entries(p_trail integer, p_from bigint, p_sealed_at timestamp with time zone[], p_categories smallint[], p_commitments bytea[], p_hashes bytea[], p_personal bytea[], p_confidential bytea[], p_operator bytea[], p_controls text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
declare
  v_count int := cardinality(p_hashes);
  v_trail trails;
  v_position bigint;
begin
  select * into strict v_trail from trails where number = p_trail;
  update shards set position = position + v_count, sealed_at = greatest(sealed_at, p_sealed_at[v_count])
    where shard = v_trail.shard returning position - v_count into strict v_position;
  update heads set size = p_from + v_count, hash = p_hashes[v_count] where trail = p_trail and size = p_from;
  if not found then raise exception 'trail % does not end at %', p_trail, p_from using errcode = 'AF001'; end if;
  if p_from = 0 then update trails set created_at = least(created_at, p_sealed_at[1]) where number = p_trail; end if;
  perform create_day(day) from (select distinct (s at time zone 'UTC')::date as day from unnest(p_sealed_at) as s) as days;
  insert into events (seq, position, sealed_at, occurred_at, trail, tenant, day, shard, category, outcome, flags,
      facts_commitment, hash, personal, confidential, operator, control, terms)
    select p_from + r.n - 1, v_position + r.n - 1, r.sealed_at, r.sealed_at, p_trail, v_trail.tenant,
      (r.sealed_at at time zone 'UTC')::date, v_trail.shard, r.category, 0, 1, r.commitment, r.hash, r.personal,
      r.confidential, r.operator, r.control, '{}'
    from unnest(p_sealed_at, p_categories, p_commitments, p_hashes, p_personal, p_confidential, p_operator, p_controls)
      with ordinality as r (sealed_at, category, commitment, hash, personal, confidential, operator, control, n);
  update lost set until = p_from + v_count where trail = p_trail and until = p_from and not sealed;
  if not found then insert into lost (trail, first, until) values (p_trail, p_from, p_from + v_count); end if;
end $function$;
alter function affidavit.replay_entries(integer,bigint,timestamp with time zone[],smallint[],bytea[],bytea[],bytea[],bytea[],bytea[],text[]) owner to affidavit_owner;
revoke all on function affidavit.replay_entries(integer,bigint,timestamp with time zone[],smallint[],bytea[],bytea[],bytea[],bytea[],bytea[],text[]) from public;
grant execute on function affidavit.replay_entries(integer,bigint,timestamp with time zone[],smallint[],bytea[],bytea[],bytea[],bytea[],bytea[],text[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.replay_subjects(p_tenant integer, p_keys uuid[])
 RETURNS TABLE(key_id uuid, number bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
#variable_conflict use_column
begin
  insert into subjects (tenant, token, key_id)
    select p_tenant, gen_random_uuid(), k from unnest(p_keys) as k
    where not exists (select from subjects s where s.tenant = p_tenant and s.key_id = k);
  return query select s.key_id, s.number from subjects s where s.tenant = p_tenant and s.key_id = any (p_keys);
end $function$;
alter function affidavit.replay_subjects(integer,uuid[]) owner to affidavit_owner;
revoke all on function affidavit.replay_subjects(integer,uuid[]) from public;
grant execute on function affidavit.replay_subjects(integer,uuid[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.seal(p_shards smallint[], p_positions bigint[], p_counts integer[], p_fences bigint[], p_key_epochs bigint[], p_sealed_at timestamp with time zone, p_trails integer[], p_before bigint[], p_after bigint[], p_hashes bytea[], p_rows affidavit.sealed_row[])
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.seal(smallint[],bigint[],integer[],bigint[],bigint[],timestamp with time zone,integer[],bigint[],bigint[],bytea[],affidavit.sealed_row[]) owner to affidavit_owner;
revoke all on function affidavit.seal(smallint[],bigint[],integer[],bigint[],bigint[],timestamp with time zone,integer[],bigint[],bigint[],bytea[],affidavit.sealed_row[]) from public;
grant execute on function affidavit.seal(smallint[],bigint[],integer[],bigint[],bigint[],timestamp with time zone,integer[],bigint[],bigint[],bytea[],affidavit.sealed_row[]) to affidavit_sealer;

CREATE OR REPLACE FUNCTION affidavit.sealed(p_trails integer[], p_seqs bigint[], p_days date[])
 RETURNS TABLE(trail integer, seq bigint, sealed_at timestamp with time zone, hash bytea, previous bytea, facts_salt uuid)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  select e.trail, e.seq, e.sealed_at, e.hash,
    (select p.hash from events p where p.trail = e.trail and p.seq = e.seq - 1 and p.day <= e.day order by p.day desc limit 1), e.facts_salt
  from unnest(p_trails, p_seqs, p_days) as u (trail, seq, day)
    join events e on e.trail = u.trail and e.seq = u.seq and e.day = u.day;
$function$;
alter function affidavit.sealed(integer[],bigint[],date[]) owner to affidavit_owner;
revoke all on function affidavit.sealed(integer[],bigint[],date[]) from public;
grant execute on function affidavit.sealed(integer[],bigint[],date[]) to affidavit_sealer;

CREATE OR REPLACE FUNCTION affidavit.settle_deployment(p_facts jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
begin
  insert into settings (name, value) values ('deployment', p_facts) on conflict (name) do nothing;
  return (select value from settings where name = 'deployment');
end $function$;
alter function affidavit.settle_deployment(jsonb) owner to affidavit_owner;
revoke all on function affidavit.settle_deployment(jsonb) from public;
grant execute on function affidavit.settle_deployment(jsonb) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.settle_objects(p_id text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
  insert into settings (name, value) values ('objects', to_jsonb(p_id)) on conflict (name) do nothing;
$function$;
alter function affidavit.settle_objects(text) owner to affidavit_owner;
revoke all on function affidavit.settle_objects(text) from public;
grant execute on function affidavit.settle_objects(text) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.slot_depth(p_used integer)
 RETURNS smallint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (GREATEST((8)::numeric, ceil(log((2)::numeric, (GREATEST((2 * p_used), 2))::numeric))))::smallint;
alter function affidavit.slot_depth(integer) owner to affidavit_owner;
revoke all on function affidavit.slot_depth(integer) from public;

CREATE OR REPLACE FUNCTION affidavit.slot_of(p_trail uuid)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((('x'::text || "left"(replace((p_trail)::text, '-'::text, ''::text), 8)))::bit(32))::bigint;
alter function affidavit.slot_of(uuid) owner to affidavit_owner;
revoke all on function affidavit.slot_of(uuid) from public;

CREATE OR REPLACE FUNCTION affidavit.take_slot(p_tenant integer, p_trail integer, p_trail_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.take_slot(integer,integer,uuid) owner to affidavit_owner;
revoke all on function affidavit.take_slot(integer,integer,uuid) from public;

CREATE OR REPLACE FUNCTION affidavit.trim_day(p_day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
declare
  v_name text := 'events_' || to_char(p_day, 'YYYYMMDD');
  v_ids text := 'event_ids_' || to_char(p_day - 6, 'YYYYMMDD');
begin
  if not exists (select from event_days where day = p_day and closed_at is not null) then
    raise exception 'day % is not closed', p_day using errcode = 'AF009';
  end if;
  if to_regclass(v_name || '_place_open') is null then return false; end if;
  execute (select 'drop index ' || string_agg(format('%I', v_name || '_' || kind || '_open'), ', ')
    from unnest(array['place', 'actor', 'action', 'request', 'control', 'position']) as kind);
  if to_regclass(v_ids) is not null then execute format('drop index %I', v_ids || '_id_open'); end if;
  return true;
end $function$;
alter function affidavit.trim_day(date) owner to affidavit_owner;
revoke all on function affidavit.trim_day(date) from public;
grant execute on function affidavit.trim_day(date) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.truncate_entries(p_trail integer, p_control bigint, p_low bigint, p_high bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
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
end $function$;
alter function affidavit.truncate_entries(integer,bigint,bigint,bigint) owner to affidavit_owner;
revoke all on function affidavit.truncate_entries(integer,bigint,bigint,bigint) from public;
grant execute on function affidavit.truncate_entries(integer,bigint,bigint,bigint) to affidavit_retention;

CREATE OR REPLACE FUNCTION affidavit.update_tenant(p_id text, p_name text, p_policy jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'affidavit', 'pg_temp'
AS $function$
begin
  update tenants set name = coalesce(p_name, name), policy = coalesce(p_policy, policy), changed_at = clock_timestamp() where id = p_id;
  return found;
end $function$;
alter function affidavit.update_tenant(text,text,jsonb) owner to affidavit_owner;
revoke all on function affidavit.update_tenant(text,text,jsonb) from public;
grant execute on function affidavit.update_tenant(text,text,jsonb) to affidavit_keeper;

CREATE OR REPLACE FUNCTION affidavit.was_in_force(p_hold affidavit.holds, p_at bigint)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select case when p_at is null then p_hold.released is null
    else p_hold.seq < p_at and (p_hold.released is null or p_hold.released > p_at) end;
$function$;
alter function affidavit.was_in_force(affidavit.holds,bigint) owner to affidavit_owner;
revoke all on function affidavit.was_in_force(affidavit.holds,bigint) from public;

CREATE OR REPLACE FUNCTION affidavit.without_personas(p_personal bytea)
 RETURNS bytea
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  select string_agg(overlay(substring(p_personal from n * 48 + 1 for 48) placing '\x0000000000000000'::bytea from 9 for 8), ''::bytea order by n)
    from generate_series(0, length(p_personal) / 48 - 1) as n;
$function$;
alter function affidavit.without_personas(bytea) owner to affidavit_owner;
revoke all on function affidavit.without_personas(bytea) from public;

CREATE OR REPLACE FUNCTION keeper.add_buckets(p_tenants integer[], p_generations integer[], p_wrapped bytea[])
 RETURNS TABLE(number bigint, wrapped bytea)
 LANGUAGE plpgsql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
#variable_conflict use_column
begin
  insert into generations (tenant) select distinct t from unnest(p_tenants) as t order by t on conflict do nothing;
  perform from generations where tenant = any (p_tenants) order by tenant for share;
  return query
    insert into buckets (tenant, generation, wrapped)
      select u.tenant, u.generation, u.wrapped from unnest(p_tenants, p_generations, p_wrapped) as u (tenant, generation, wrapped)
        join generations g on g.tenant = u.tenant and g.current = u.generation
      returning buckets.number, buckets.wrapped;
end $function$;
alter function keeper.add_buckets(integer[],integer[],bytea[]) owner to affidavit_owner;
revoke all on function keeper.add_buckets(integer[],integer[],bytea[]) from public;
grant execute on function keeper.add_buckets(integer[],integer[],bytea[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.add_data_key(p_tenant integer, p_generation integer, p_wrapped bytea)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
begin
  insert into tenant_keys (tenant, kind, generation, wrapped) values (p_tenant, 'data', p_generation, p_wrapped) on conflict do nothing;
  if not found then return false; end if;
  update affidavit.tenants set changed_at = clock_timestamp() where number = p_tenant;
  return true;
end $function$;
alter function keeper.add_data_key(integer,integer,bytea) owner to affidavit_owner;
revoke all on function keeper.add_data_key(integer,integer,bytea) from public;
grant execute on function keeper.add_data_key(integer,integer,bytea) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.add_subject_keys(p_buckets bigint[], p_bucket_keys bytea[], p_counts integer[], p_subjects bigint[], p_tenants integer[], p_bucket_of bigint[], p_wrapped bytea[])
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
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
end $function$;
alter function keeper.add_subject_keys(bigint[],bytea[],integer[],bigint[],integer[],bigint[],bytea[]) owner to affidavit_owner;
revoke all on function keeper.add_subject_keys(bigint[],bytea[],integer[],bigint[],integer[],bigint[],bytea[]) from public;
grant execute on function keeper.add_subject_keys(bigint[],bytea[],integer[],bigint[],integer[],bigint[],bytea[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.begin_rotation(p_tenant integer, p_generation integer)
 RETURNS SETOF keeper.rotations
 LANGUAGE plpgsql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
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
end $function$;
alter function keeper.begin_rotation(integer,integer) owner to affidavit_owner;
revoke all on function keeper.begin_rotation(integer,integer) from public;
grant execute on function keeper.begin_rotation(integer,integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.end_rotation(p_tenant integer, p_next integer)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  delete from rotations r where r.tenant = p_tenant and r.next = p_next
    and not exists (select from buckets b where b.tenant = p_tenant and b.generation = any (r.retiring));
$function$;
alter function keeper.end_rotation(integer,integer) owner to affidavit_owner;
revoke all on function keeper.end_rotation(integer,integer) from public;
grant execute on function keeper.end_rotation(integer,integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.full_generations(p_buckets integer)
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  select b.tenant from buckets b left join generations g on g.tenant = b.tenant where b.generation = coalesce(g.current, 0)
    group by b.tenant having count(*) >= p_buckets order by 1;
$function$;
alter function keeper.full_generations(integer) owner to affidavit_owner;
revoke all on function keeper.full_generations(integer) from public;
grant execute on function keeper.full_generations(integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.live_generations(p_tenant integer)
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  select d.generation from (select distinct generation from buckets where tenant = p_tenant) d
    left join generations g on g.tenant = p_tenant order by d.generation = coalesce(g.current, 0), d.generation;
$function$;
alter function keeper.live_generations(integer) owner to affidavit_owner;
revoke all on function keeper.live_generations(integer) from public;
grant execute on function keeper.live_generations(integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.move_generation(p_tenant integer, p_next integer)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  update generations g set current = p_next from rotations r
    where g.tenant = p_tenant and r.tenant = p_tenant and g.current < p_next and (r.retiring = '{}' or g.current = any (r.retiring));
$function$;
alter function keeper.move_generation(integer,integer) owner to affidavit_owner;
revoke all on function keeper.move_generation(integer,integer) from public;
grant execute on function keeper.move_generation(integer,integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.open_buckets(p_tenants integer[])
 RETURNS TABLE(tenant integer, generation integer, number bigint, subjects integer, wrapped bytea)
 LANGUAGE sql
 STABLE
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  select t, coalesce(g.current, 0), b.number, b.subjects, b.wrapped
  from unnest(p_tenants) as t
    left join generations g on g.tenant = t
    left join lateral (
      select number, subjects, wrapped from buckets
      where tenant = t and subjects < 1024 and generation = coalesce(g.current, 0) order by number desc limit 1
    ) b on true;
$function$;
alter function keeper.open_buckets(integer[]) owner to affidavit_owner;
revoke all on function keeper.open_buckets(integer[]) from public;
grant execute on function keeper.open_buckets(integer[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.open_personas(p_tenant integer, p_personas bigint[], p_most bigint)
 RETURNS TABLE(persona bigint, subject bigint, content bytea, wrapped bytea, bucket bigint, generation integer, bucket_wrapped bytea)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  select p.number, p.subject, case when p.before <= p_most then p.content end, k.wrapped, b.number, b.generation, b.wrapped
  from (
      select q.number, q.subject, q.content, sum(octet_length(q.content)) over (order by u.n) - octet_length(q.content) as before
      from unnest(p_personas) with ordinality as u (number, n)
        join affidavit.personas q on q.number = u.number and q.tenant = p_tenant) p
    join subject_keys k on k.subject = p.subject and k.tenant = p_tenant
    join buckets b on b.number = k.bucket and b.tenant = p_tenant;
$function$;
alter function keeper.open_personas(integer,bigint[],bigint) owner to affidavit_owner;
revoke all on function keeper.open_personas(integer,bigint[],bigint) from public;
grant execute on function keeper.open_personas(integer,bigint[],bigint) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.replay_buckets(p_tenant integer, p_generation integer, p_numbers bigint[], p_wrapped bytea[], p_renewed boolean[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  insert into generations (tenant, current, newest) values (p_tenant, p_generation, p_generation) on conflict (tenant) do update
    set current = greatest(generations.current, excluded.current), newest = greatest(generations.newest, excluded.newest);
  update buckets b set wrapped = u.wrapped, generation = p_generation, renewed = case when u.renewed then p_generation else b.renewed end
    from unnest(p_numbers, p_wrapped, p_renewed) as u (number, wrapped, renewed)
    where b.number = u.number and b.tenant = p_tenant and b.generation < p_generation;
$function$;
alter function keeper.replay_buckets(integer,integer,bigint[],bytea[],boolean[]) owner to affidavit_owner;
revoke all on function keeper.replay_buckets(integer,integer,bigint[],bytea[],boolean[]) from public;
grant execute on function keeper.replay_buckets(integer,integer,bigint[],bytea[],boolean[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.replay_subject_keys(p_tenant integer, p_bucket bigint, p_subjects bigint[], p_keys bytea[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  -- Whoever is missing there was erased before that rotation.
  delete from subject_keys where tenant = p_tenant and bucket = p_bucket and subject <> all (p_subjects);
  update subject_keys k set wrapped = u.wrapped from unnest(p_subjects, p_keys) as u (subject, wrapped)
    where k.subject = u.subject and k.bucket = p_bucket and k.tenant = p_tenant;
$function$;
alter function keeper.replay_subject_keys(integer,bigint,bigint[],bytea[]) owner to affidavit_owner;
revoke all on function keeper.replay_subject_keys(integer,bigint,bigint[],bytea[]) from public;
grant execute on function keeper.replay_subject_keys(integer,bigint,bigint[],bytea[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.retiring_buckets(p_tenant integer, p_limit integer)
 RETURNS TABLE(number bigint, generation integer, wrapped bytea, destroyed boolean)
 LANGUAGE sql
 STABLE
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  select b.number, b.generation, b.wrapped, exists (select from destroyed_keys d where d.tenant = p_tenant and d.bucket = b.number)
  from rotations r join buckets b on b.tenant = r.tenant and b.generation = any (r.retiring)
  where r.tenant = p_tenant order by b.number limit p_limit;
$function$;
alter function keeper.retiring_buckets(integer,integer) owner to affidavit_owner;
revoke all on function keeper.retiring_buckets(integer,integer) from public;
grant execute on function keeper.retiring_buckets(integer,integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.rewrap_bucket(p_bucket bigint, p_before bytea, p_generation integer, p_wrapped bytea, p_subjects bigint[], p_keys bytea[])
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
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
end $function$;
alter function keeper.rewrap_bucket(bigint,bytea,integer,bytea,bigint[],bytea[]) owner to affidavit_owner;
revoke all on function keeper.rewrap_bucket(bigint,bytea,integer,bytea,bigint[],bytea[]) from public;
grant execute on function keeper.rewrap_bucket(bigint,bytea,integer,bytea,bigint[],bytea[]) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.rotations_due()
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
  select tenant from rotations union select tenant from destroyed_keys order by 1;
$function$;
alter function keeper.rotations_due() owner to affidavit_owner;
revoke all on function keeper.rotations_due() from public;
grant execute on function keeper.rotations_due() to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.skip_generation(p_tenant integer, p_next integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
begin
  update generations set newest = greatest(newest, p_next + 1) where tenant = p_tenant;
  update rotations set next = p_next + 1 where tenant = p_tenant and next = p_next;
end $function$;
alter function keeper.skip_generation(integer,integer) owner to affidavit_owner;
revoke all on function keeper.skip_generation(integer,integer) from public;
grant execute on function keeper.skip_generation(integer,integer) to affidavit_keeper;

CREATE OR REPLACE FUNCTION keeper.touch_api_keys(p_ids text[], p_used_at timestamp with time zone[])
 RETURNS TABLE(id text, used_at timestamp with time zone)
 LANGUAGE plpgsql
 SET search_path TO 'keeper', 'pg_temp'
AS $function$
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
end $function$;
alter function keeper.touch_api_keys(text[],timestamp with time zone[]) owner to affidavit_owner;
revoke all on function keeper.touch_api_keys(text[],timestamp with time zone[]) from public;
grant execute on function keeper.touch_api_keys(text[],timestamp with time zone[]) to affidavit_keeper;
