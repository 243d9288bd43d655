// After a restore, before anything is served: what the trails' control entries say is done again. A backup is older than
// some of them; the trail (put back from epoch objects) is not. Everything here is what was announced and sealed before;
// nothing new is decided and nothing is sealed.
import type { Category } from '@affidavit/trail'
import type { KeyProvider } from '../keys/provider.ts'
import type { Pool } from '../store/database.ts'
import type { Objects } from '../store/objects.ts'
import { type Announced, reachOf, readAnnouncements } from './announcements.ts'
import { replayJournal } from './journal.ts'
import { deleteTenant, dropPersonas, eraseSubjects, prune, redact, truncate } from './removals.ts'

export interface ReplayParts {
  /** Pools of the roles. */
  readonly retention: Pool
  readonly keeper: Pool
  readonly provider: KeyProvider
  /** Where rotations wrote their journals; null: there are none. */
  readonly objects: Objects | null
}

export interface Replayed {
  /** Control entries that were gone through. */
  readonly entries: number
  /** People whose keys were destroyed again. */
  readonly subjects: number
  /** Generations of subject-wrap keys that were taken up from journals, over all tenants. */
  readonly generations: number
}

interface TrailRow {
  readonly number: number
  readonly tenant: number
  readonly keyring: string
}

/**
 * Replays keys and forgetting of all tenants. Idempotent; a database that has forgotten everything already is only read.
 * @throws StoreUnavailable, KeyUnusable; repeat it before serving
 */
export async function replayForgetting(parts: ReplayParts): Promise<Replayed> {
  const { rows: trails } = await parts.retention.query<TrailRow & Record<string, unknown>>(
    `select t.number, t.tenant, (select f.id from affidavit.trails f where f.tenant = t.tenant order by f.ordinal limit 1) as keyring
     from affidavit.trails t order by t.number`,
  )
  let generations = 0
  for (const tenant of new Map(trails.map((row) => [row.tenant, row])).values())
    generations += (await replayKeys(parts, tenant.tenant, tenant.keyring.replaceAll('-', ''))).length
  let entries = 0
  let subjects = 0
  for (const trail of trails) {
    const { rows } = await parts.retention.query<{ seq: number; control: string }>(
      'select seq, control from affidavit.control_entries($1, 0)',
      [trail.number],
    )
    const announced = await readAnnouncements(parts.retention, trail.number)
    const alive = await readAlive(
      parts.retention,
      trail,
      rows.map(({ control }) => control),
    )
    for (const { seq, control } of rows) subjects += await replayLine(parts, trail, seq, control, alive, announced)
    entries += rows.length
  }
  return { entries, subjects, generations }
}

/** Takes up the rotations that the restored database does not know of. @returns their generations */
export async function replayKeys(parts: ReplayParts, tenant: number, keyring: string): Promise<number[]> {
  if (parts.objects === null) return []
  const { keeper, objects, provider } = parts
  return replayJournal({ keeper, objects, provider, tenant: { number: tenant, keyring } })
}

/** Subjects that the lines announce as erased and the database still knows, by key id. */
async function readAlive(retention: Pool, trail: TrailRow, lines: readonly string[]): Promise<Map<string, number>> {
  const ids = lines.filter((line) => line.startsWith('erase ')).flatMap((line) => line.split(' ').slice(1))
  if (ids.length === 0) return new Map()
  const { rows } = await retention.query<{ number: number; key_id: string }>(
    'select number, key_id from affidavit.subjects where tenant = $1 and key_id = any ($2::uuid[]) and erased_at is null',
    [trail.tenant, ids],
  )
  return new Map(rows.map(({ number, key_id }) => [key_id.replaceAll('-', ''), number]))
}

/** @returns how many people's keys were destroyed */
async function replayLine(
  { retention, provider }: ReplayParts,
  trail: TrailRow,
  seq: number,
  line: string,
  alive: ReadonlyMap<string, number>,
  announced: readonly Announced[],
): Promise<number> {
  const [kind, ...words] = line.split(' ')
  switch (kind) {
    case 'hold':
      await retention.query('select affidavit.place_hold($1, $2)', [trail.number, seq])
      return 0
    case 'release':
      await retention.query('select affidavit.release_hold($1, $2)', [trail.number, seq])
      return 0
    case 'erase': {
      const subjects = words.flatMap((id) => alive.get(id) ?? [])
      if (subjects.length === 0) return 0
      const { holds } = await eraseSubjects(retention, trail.number, seq, subjects, 0)
      if (holds.length > 0) return 0 // announced in vain; a later entry repeats it
      await dropPersonas(retention, subjects)
      return subjects.length
    }
    case 'redact':
      await redact(retention, trail.number, seq)
      return 0
    case 'prune': {
      const { sealedAt } = announced.find((one) => one.seq === seq)!
      const before = announced.filter((one) => one.seq < seq)
      await prune(retention, trail.number, seq, reachOf(before, words[0] as Category, sealedAt), 0)
      return 0
    }
    case 'truncate':
      await truncate(retention, trail.number, seq, Number(words[0]))
      return 0
    case 'close':
      if (words[0] === 'deleted') {
        const tenant = { number: trail.tenant, keyring: trail.keyring.replaceAll('-', '') }
        await deleteTenant(retention, provider, tenant, trail.number, seq)
      }
      return 0
    default:
      return 0
  }
}
