-- The notary's cursors, and the closing of days in steps that never make a reader or a writer wait.

-- One cursor per shard from the beginning, so that moving one is always an update of a row that is there.
insert into affidavit.cursors (name, shard, position, day)
  select 'notary', shard, 0, '1970-01-01' from affidavit.shards;
