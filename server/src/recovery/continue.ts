// When database and Objects are both gone: a new registry and new trails that say which ones they continue, and at which
// size and root, as copies outside still vouch for them (packs, kept checkpoints, anchors). Each new trail takes its old
// slot. Nothing is sealed here: the next start seals `open` and `continues` before anything else.
import { randomBytes } from 'node:crypto'
import {
  type Checkpoint,
  encodeRegistryEntry,
  NoteError,
  parseCheckpoint,
  parseNote,
  parseVkey,
  registryOrigin,
  slotOf,
  verifyEd25519,
  verifyNote,
} from '@affidavit/trail'
import type { Keys } from '../keys/open-keys.ts'
import type { KeyChest } from '../keys/tenant-keys.ts'
import type { Pool } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import { OPERATOR_TENANT, shardOf } from '../tenants/tenants.ts'
import { RecoveryRefused } from './repository.ts'

/** Signed notes, as they were kept. */
export interface Vouched {
  readonly trails: readonly { readonly tenant: string; readonly note: string }[]
  /** Checkpoints of the registry; the largest counts. */
  readonly registry: readonly string[]
}

export interface Continued {
  readonly registry: { readonly origin: string; readonly continues: string; readonly size: number }
  readonly trails: readonly {
    readonly tenant: string
    readonly trail: string
    readonly continues: string
    readonly size: number
  }[]
}

const registry_pattern = /^(.+)\/registry(?:\.([1-9]\d{0,5}))?$/

/** The log name that the copies speak of. @throws RecoveryRefused when they speak of several, or of none */
export function logNameOfCopies({ trails, registry }: Vouched): string {
  const names = new Set([
    ...registry.map((note) => registry_pattern.exec(read(note).origin)?.[1]),
    ...trails.map(({ note }) => /^(.+)\/[0-9a-f]{32}$/.exec(read(note).origin)?.[1]),
  ])
  const [name] = names
  if (names.size === 1 && name !== undefined) return name
  throw new RecoveryRefused(
    'The copies are not checkpoints of one log: their first lines name its trails and its registry.',
  )
}

function read(note: string): Checkpoint {
  try {
    return parseCheckpoint(parseNote(note).text)
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    throw new RecoveryRefused(`A copy is no signed checkpoint: ${error.message}.`)
  }
}

/**
 * Begins the new registry and the new trails in an empty database.
 * @throws RecoveryRefused with a sentence for the operator
 */
export async function continueLog(keeper: Pool, keys: Keys, chest: KeyChest, vouched: Vouched): Promise<Continued> {
  const { rows } = await keeper.query<{ tenants: number; epoch: number }>(
    'select (select count(*)::int from affidavit.tenants) as tenants, epoch from affidavit.registry',
  )
  if (rows[0]!.tenants > 0 || rows[0]!.epoch > 0)
    throw new RecoveryRefused(
      'The database is not empty. Trails are continued into an empty data folder; set this one aside, it is evidence.',
    )
  const checkpoints = await Promise.all(vouched.registry.map((note) => checked(keys, note)))
  const registry = checkpoints.sort((a, b) => b.size - a.size)[0]
  if (registry === undefined)
    throw new RecoveryRefused(
      'A checkpoint of the registry is needed, so that the new one continues it: from an anchor, a witness or a new pack.',
    )
  const trails = new Map<string, Checkpoint>()
  for (const { tenant, note } of vouched.trails) {
    const checkpoint = await checked(keys, note)
    if ((trails.get(tenant)?.size ?? -1) < checkpoint.size) trails.set(tenant, checkpoint)
  }
  return keeper.transaction(async (session) => {
    const made: Continued['trails'][number][] = []
    for (const [tenant, { origin, size, root }] of trails) {
      const before = origin.slice(origin.lastIndexOf('/') + 1)
      const id = randomBytes(16)
      id.writeUInt32BE(slotOf(before))
      const trail = id.toString('hex')
      const { data, index } = await chest.make(trail)
      await session.query('select affidavit.deepen_slots($1::smallint)', [32 - Math.clz32(slotOf(before))])
      await session.query('select affidavit.create_tenant($1, null, $2, $3, $4::smallint, $5, $6)', [
        tenant,
        tenant === OPERATOR_TENANT,
        trail,
        shardOf(id),
        data,
        index,
      ])
      await session.query(
        `insert into affidavit.continued (trail, continues, size, root)
          select number, $2, $3, $4 from affidavit.trails where id = $1`,
        [trail, before, size, Buffer.from(root)],
      )
      made.push({ tenant, trail, continues: before, size })
    }
    const [, name, generation] = registry_pattern.exec(registry.origin)!
    const origin = registryOrigin(name!, Number(generation ?? 0) + 1)
    const { size, root } = registry
    const entry = encodeRegistryEntry({ kind: 'continues', origin: registry.origin, size, root })
    // Every epoch appended at least one entry: the size is not below the number of the newest epoch that it holds.
    await session.query('select affidavit.begin_registry($1, $2, $3)', [origin, [entry], size])
    return { registry: { origin, continues: registry.origin, size }, trails: made }
  })
}

/** Only what this log's own key signed is continued: a copy may come from anybody. */
async function checked(keys: Keys, note: string): Promise<Checkpoint> {
  const checkpoint = read(note)
  const key = parseVkey(sha256, keys.logKey.vkey(checkpoint.origin))
  const verified = await verifyNote(verifyEd25519, note, [key]).catch((error: unknown) => {
    if (error instanceof NoteError) return undefined
    throw error
  })
  if (verified?.verified.length === 1) return checkpoint
  throw new RecoveryRefused(
    `The checkpoint of ${checkpoint.origin} with ${checkpoint.size} entries is not signed by this deployment's log key. ` +
      'Restore the key folder first.',
  )
}

export interface ToContinue {
  readonly trail: number
  readonly tenant: number
  readonly continues: string
  readonly size: number
  /** Base64. */
  readonly root: string
}

/** Trails that have no entry yet and must begin with `open` and `continues`. */
export async function readToContinue(keeper: Pool): Promise<ToContinue[]> {
  const { rows } = await keeper.query<Omit<ToContinue, 'root'> & { root: Buffer }>(
    `select c.trail, t.tenant, replace(c.continues::text, '-', '') as continues, c.size, c.root
      from affidavit.continued c join affidavit.trails t on t.number = c.trail join affidavit.heads h on h.trail = c.trail
      where h.size = 0 order by c.trail`,
  )
  return rows.map((row) => ({ ...row, root: row.root.toString('base64') }))
}
