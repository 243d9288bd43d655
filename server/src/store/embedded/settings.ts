// PostgreSQL's settings for a log that only grows: durable first, then few checkpoints and much recycled WAL.
import { statfs } from 'node:fs/promises'
import { totalmem } from 'node:os'

export type Settings = Record<string, string>

const gib = 1024
const clamp = (low: number, value: number, high: number) => Math.round(Math.min(Math.max(value, low), high))

/**
 * Defaults for this machine, then what the caller overrides. Sizes follow memory (of the container, where it has a
 * limit) and the free space of the disk that holds `folder`.
 */
export async function settingsFor(folder: string, overrides: Settings): Promise<Settings> {
  const memory_mib = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) / 2 ** 20
  const disk = await statfs(folder)
  return { ...durable, ...growing, ...sizes(memory_mib, (disk.bavail * disk.bsize) / 2 ** 20), ...overrides }
}

/** @internal exported for its test: sizes in MiB in, settings out */
export function sizes(memory_mib: number, free_mib: number): Settings {
  // WAL that is recycled is not written twice: worth a quarter of the ingest rate. At most a tenth of the free disk.
  const wal = clamp(256, free_mib / 10, 8 * gib)
  return {
    shared_buffers: `${clamp(128, memory_mib / 4, 2 * gib)}MB`,
    effective_cache_size: `${clamp(256, memory_mib / 2, 64 * gib)}MB`,
    maintenance_work_mem: `${clamp(64, memory_mib / 32, 512)}MB`,
    max_wal_size: `${wal}MB`,
    min_wal_size: `${clamp(128, wal / 4, 2 * gib)}MB`,
  }
}

const durable: Settings = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
}

const growing: Settings = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '120',
  superuser_reserved_connections: '5',
  // A transaction that plans over all day partitions and their indexes locks each of them.
  max_locks_per_transaction: '256',
  wal_compression: 'off', // the shipped build has only pglz, which costs ingest more CPU than it saves disk
  wal_buffers: '32MB',
  checkpoint_timeout: '15min',
  checkpoint_completion_target: '0.9',
  // Rows arrive and stay: vacuum for the visibility map, analyse often enough that today's partition has statistics. But to
  // analyse it takes a core for up to a second, and a day's events are of one kind: not each time that it grew a little.
  autovacuum_naptime: '60s',
  autovacuum_vacuum_insert_threshold: '20000',
  autovacuum_vacuum_insert_scale_factor: '0.1',
  autovacuum_analyze_scale_factor: '0.2',
  jit: 'off',
  random_page_cost: '1.1',
  default_statistics_target: '200',
  timezone: 'UTC',
  log_timezone: 'UTC',
  datestyle: 'ISO, YMD',
  lc_messages: 'C',
  log_line_prefix: '%m [%p] %a ',
  log_checkpoints: 'on',
  log_lock_waits: 'on',
  log_temp_files: '64MB',
}

/** The text of postgresql.conf. `custom.conf` beside it is the operator's; PostgreSQL reads it last. */
export function renderSettings(settings: Settings): string {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`)
  return [
    '# Written by affidavit at every start. Put settings of your own into ../custom.conf, which is read after this.',
    ...lines,
    "include_if_exists = '../custom.conf'",
    '',
  ].join('\n')
}
