// What rotations did, outside the database: `keyrings/<keyring>/<10-digit generation>` in Objects holds the rows that a
// rotation wrote, so that an older backup, whose rows stand under generations that are destroyed, finds the living again.
// All of it is wrapped under that generation: once it is destroyed in its turn, the journal opens nothing, and neither
// brings back who was erased since.
//
// NDJSON: {"bucket": number, "wrapped": base64, "renewed": boolean}, each renewed one followed by its keys,
// {"subjects": [number…], "keys": [base64…]}.
import { Readable } from 'node:stream'
import type { KeyTenant } from '../keys/buckets.ts'
import type { KeyProvider } from '../keys/provider.ts'
import type { Queryable } from '../store/database.ts'
import type { Objects } from '../store/objects.ts'

interface JournalOptions {
  /** Pool of the role `keeper`. */
  readonly keeper: Queryable
  readonly objects: Objects
  readonly tenant: Pick<KeyTenant, 'number' | 'keyring'>
}

interface BucketLine {
  readonly bucket: number
  readonly wrapped: string
  readonly renewed: boolean
}
interface KeysLine {
  readonly subjects: readonly number[]
  readonly keys: readonly string[]
}

const page = 256
const folderOf = (keyring: string) => `keyrings/${keyring}/`
const numbered = (generation: number) => String(generation).padStart(10, '0')

/** Writes down where a tenant's buckets stand after a rotation. A journal that is there already is left as it is. */
export async function writeJournal(options: JournalOptions & { readonly generation: number }): Promise<void> {
  const key = folderOf(options.tenant.keyring) + numbered(options.generation)
  await options.objects.put(key, Readable.from(lines(options), { objectMode: false }))
}

async function* lines({ keeper, tenant, generation }: JournalOptions & { generation: number }): AsyncGenerator<Buffer> {
  for (let after = 0; ; ) {
    const { rows } = await keeper.query<{ number: number; wrapped: Buffer; renewed: boolean }>(
      `select number, wrapped, renewed = $2 as renewed from keeper.buckets
       where tenant = $1 and generation = $2 and number > $3 order by number limit $4`,
      [tenant.number, generation, after, page],
    )
    if (rows.length === 0) return
    for (const { number, wrapped, renewed } of rows) {
      yield line({ bucket: number, wrapped: wrapped.toString('base64'), renewed })
      if (renewed) yield line(await keysOf(keeper, number))
    }
    after = rows.at(-1)!.number
  }
}

const line = (value: BucketLine | KeysLine) => Buffer.from(`${JSON.stringify(value)}\n`)

async function keysOf(keeper: Queryable, bucket: number): Promise<KeysLine> {
  const { rows } = await keeper.query<{ subject: number; wrapped: Buffer }>(
    'select subject, wrapped from keeper.subject_keys where bucket = $1 order by subject',
    [bucket],
  )
  return {
    subjects: rows.map(({ subject }) => subject),
    keys: rows.map(({ wrapped }) => wrapped.toString('base64')),
  }
}

/**
 * Takes up the rotations that a restored database does not know of, in order, up to the last one whose generation the
 * provider still has: with an older copy of the keys, rows stay under the generation that it can open. Idempotent.
 * @returns the generations that were taken up
 */
export async function replayJournal(options: JournalOptions & { readonly provider: KeyProvider }): Promise<number[]> {
  const { keeper, objects, tenant, provider } = options
  const { rows } = await keeper.query<{ newest: number }>(
    'select greatest(current, newest) as newest from keeper.generations where tenant = $1',
    [tenant.number],
  )
  const folder = folderOf(tenant.keyring)
  const known = rows[0]?.newest ?? 0
  const later: number[] = []
  for await (const { key } of objects.list(folder, folder + numbered(known)))
    later.push(Number(key.slice(folder.length)))
  if (later.length === 0) return []
  const live = await provider.generations(tenant.keyring)
  const taken = later.slice(0, later.findLastIndex((generation) => live.includes(generation)) + 1)
  for (const generation of taken) {
    const content = await objects.get(folder + numbered(generation))
    if (content !== undefined) await takeUp(options, generation, content.toString('utf8'))
  }
  // A number whose journal lies there is never used again, whether its key is there or not.
  await keeper.query(
    `insert into keeper.generations as g (tenant, newest) values ($1, $2)
     on conflict (tenant) do update set newest = greatest(g.newest, excluded.newest)`,
    [tenant.number, later.at(-1)],
  )
  return taken
}

async function takeUp({ keeper, tenant }: JournalOptions, generation: number, text: string): Promise<void> {
  const all = text
    .split('\n')
    .slice(0, -1)
    .map((one) => JSON.parse(one) as BucketLine | KeysLine)
  const buckets = all.filter((one) => 'bucket' in one)
  for (const [n, one] of all.entries()) {
    const before = all[n - 1]
    if (!('subjects' in one) || before === undefined || !('bucket' in before)) continue
    await keeper.query('select keeper.replay_subject_keys($1, $2, $3, $4)', [
      tenant.number,
      before.bucket,
      one.subjects,
      one.keys.map((key) => Buffer.from(key, 'base64')),
    ])
  }
  await keeper.query('select keeper.replay_buckets($1, $2, $3, $4, $5)', [
    tenant.number,
    generation,
    buckets.map(({ bucket }) => bucket),
    buckets.map(({ wrapped }) => Buffer.from(wrapped, 'base64')),
    buckets.map(({ renewed }) => renewed),
  ])
}
