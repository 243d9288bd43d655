-- Copies of registry checkpoints that lie elsewhere, and how each place does.
set local role affidavit_owner;

-- One row per witness of the policy file and per place of the anchors' file.
create table affidavit.anchors (
  name text not null,
  kind text not null check (kind in ('witness', 'bucket', 'timestamp', 'mailbox', 'webhook')),
  origin text,                       -- of the newest checkpoint that it has
  epoch bigint,
  size bigint,
  succeeded_at timestamptz,
  error text,                        -- of the last try; null when it went well
  wrong boolean not null default false, -- it answered, and what it said cannot be right
  failed_at timestamptz,
  failures int not null default 0,   -- since the last success
  wrong_answers int not null default 0,
  next_try_at timestamptz,
  primary key (name, kind)
) with (fillfactor = 70);

-- What was placed: the exact bytes, and what the place gave for them. Never changed; a few thousand rows a year.
create table affidavit.anchored (
  id bigint generated always as identity primary key,
  epoch bigint not null,
  size bigint not null,
  at timestamptz not null default clock_timestamp(),
  anchor text not null,
  kind text not null,
  origin text not null,
  public boolean not null,           -- shown to everybody, as a verifier needs it
  note text not null,
  token bytea,                       -- RFC 3161 response
  details jsonb not null default '{}'
);
create index anchored_public on affidavit.anchored (id desc) where public;
create index anchored_epoch on affidavit.anchored (epoch) where public;

grant select, insert, update, delete on affidavit.anchors to affidavit_notary;
grant select, insert on affidavit.anchored to affidavit_notary;
grant select on affidavit.anchors, affidavit.anchored to affidavit_follower, affidavit_scrub, affidavit_operator_reader;
-- Row-level security keeps what is not public from the public's role.
grant select on affidavit.anchored to affidavit_reader;
alter table affidavit.anchored enable row level security;
alter table affidavit.anchored force row level security;
create policy anchored_all on affidavit.anchored to affidavit_notary, affidavit_follower, affidavit_scrub, affidavit_operator_reader
  using (true) with check (true);
create policy anchored_public on affidavit.anchored for select to affidavit_reader using (public);

reset role;
