-- The scrub: how far it has read, and what it found. A trail with a finding that nobody acknowledged takes no events.
set local role affidavit_owner;

create table affidavit.scrub (
  one boolean primary key default true check (one),
  round bigint not null default 0,           -- rounds begun; every round reads all trails
  trail int not null default 0,              -- trails up to this one are done; the one after it is being read
  seq bigint not null default 0,             -- entries of that one are done up to here
  range bytea not null default '',           -- compact range of their leaf hashes
  previous bytea,                            -- leaf hash of entry seq − 1
  checked bigint not null default 0,         -- entries in this round
  total bigint not null default 0,           -- entries there were when it began
  started_at timestamptz,
  finished_at timestamptz                    -- of the last whole round
);
insert into affidavit.scrub default values;

create table affidavit.scrub_findings (
  number bigint generated always as identity primary key,
  trail int not null references affidavit.trails,
  seq bigint,                                -- null: concerns the trail as a whole
  what text not null,                        -- column or table that is wrong
  message text not null,
  print text not null,                       -- tells a new change of the same place from the one acknowledged
  found_at timestamptz not null default clock_timestamp(),
  acknowledged_at timestamptz,
  acknowledged_by text,
  reason text,
  unique nulls not distinct (trail, seq, what, print)
);
create index scrub_findings_open on affidavit.scrub_findings (trail) where acknowledged_at is null;

grant select, update on affidavit.scrub to affidavit_scrub;
grant select, insert, update on affidavit.scrub_findings to affidavit_scrub;
grant select on affidavit.shards, affidavit.event_days to affidavit_scrub;

reset role;
