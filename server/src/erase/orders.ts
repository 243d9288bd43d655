// What must outlive the database although no epoch holds it yet: a copy of every control entry that removes something, or
// forbids a removal, in Objects. It is written after the entry was sealed and before anything goes or is answered as done,
// so that a database put back to a time before the entry does it again before it serves (erase/recall.ts). Once an epoch
// holds the entry the copy is of no further use; it stays, for an object is never replaced.
//
// `erasures/<epoch, ten digits>/<trail>-<seq, sixteen digits>`: the newest epoch of the database when it was written. Entries
// of copies that stand under an older epoch than a database knows are in that database. docs/spec/erasure-object.md.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Queryable } from '../store/database.ts'
import type { Objects } from '../store/objects.ts'

export interface Order {
  /** When it was written: orders are repeated in this sequence. */
  readonly at: string
  /** 32 hex digits. */
  readonly trail: string
  readonly seq: number
  /** The entry's line, without the word `control`. */
  readonly control: string
  /** Of a request: its id, and the ids of the API keys that asked and approved. Null for a legal hold. */
  readonly request: { readonly id: string; readonly requested: string; readonly decided: string } | null
  /**
   * Leaf hashes (hex) of entries that the line names by number, as [seq, hash]: after a loss another entry may have the
   * number.
   */
  readonly leaves: readonly (readonly [number, string])[]
}

/** An object that was not written under this deployment's registry secret. */
export class ForeignOrder extends Error {
  override name = 'ForeignOrder'
}

interface OrdersParts {
  readonly objects: Objects
  /** The registry secret, once there is one. */
  readonly secret: () => Promise<Uint8Array>
  /** Pool of the role `retention`. */
  readonly retention: Queryable
}

const firstLine = 'affidavit/1 erasure\n'
const folder = 'erasures/'
const numbered = (number: number, digits: number) => String(number).padStart(digits, '0')

export class Orders {
  readonly #parts: OrdersParts

  constructor(parts: OrdersParts) {
    this.#parts = parts
  }

  /**
   * Durable when it returns. It may be repeated.
   * @param named entries that the line names by number
   * @throws StoreUnavailable, and what Objects throw that cannot be written: nothing may go then
   */
  async write(order: Omit<Order, 'at' | 'leaves' | 'trail'>, trail: number, named: readonly number[]): Promise<void> {
    const { objects, secret, retention } = this.#parts
    const { rows } = await retention.query<{ epoch: number; id: string; at: number }>(
      'select r.epoch, t.id, clock_timestamp() as at from affidavit.registry r, affidavit.trails t where t.number = $1',
      [trail],
    )
    const { epoch, id, at } = rows[0]!
    const leaves = [...(await readLeaves(retention, trail, named))]
    const whole: Order = { at: new Date(at).toISOString(), trail: id.replaceAll('-', ''), ...order, leaves }
    const key = `${folder}${numbered(epoch, 10)}/${whole.trail}-${numbered(order.seq, 16)}`
    await objects.put(key, seal(await secret(), whole))
  }

  /** Those that a database may lack whose newest epoch is, or was before it was brought up to date, this one; in order. */
  async after(epoch: number): Promise<Order[]> {
    const { objects, secret } = this.#parts
    const orders: Order[] = []
    for await (const { key } of objects.list(folder, folder + numbered(epoch, 10))) {
      const content = await objects.get(key)
      if (content !== undefined) orders.push(open(await secret(), key, content.toString('utf8')))
    }
    return orders.sort((a, b) => (a.at === b.at ? a.seq - b.seq : a.at < b.at ? -1 : 1))
  }

  /** Whether there is any. */
  async isAny(epoch: number): Promise<boolean> {
    for await (const _ of this.#parts.objects.list(folder, folder + numbered(epoch, 10))) return true
    return false
  }
}

/** Leaf hashes of those entries that the trail has. @param retention role `retention` */
export async function readLeaves(
  retention: Queryable,
  trail: number,
  seqs: readonly number[],
): Promise<Map<number, string>> {
  if (seqs.length === 0) return new Map()
  const { rows } = await retention.query<{ seq: number; hash: Buffer }>(
    'select seq, hash from affidavit.leaf_hashes($1, $2::bigint[])',
    [trail, seqs],
  )
  return new Map(rows.map(({ seq, hash }) => [seq, hash.toString('hex')]))
}

const macOf = (secret: Uint8Array, text: string) => createHmac('sha256', secret).update(text).digest()

function seal(secret: Uint8Array, order: Order): Buffer {
  const text = `${firstLine}${JSON.stringify(order)}\n`
  return Buffer.from(`${text}${macOf(secret, text).toString('hex')}\n`)
}

function open(secret: Uint8Array, key: string, content: string): Order {
  const mac = content.slice(-65, -1)
  const text = content.slice(0, -65)
  const isOurs =
    text.startsWith(firstLine) &&
    /^[0-9a-f]{64}$/.test(mac) &&
    timingSafeEqual(Buffer.from(mac, 'hex'), macOf(secret, text))
  if (!isOurs)
    throw new ForeignOrder(
      `${key} was not written with this deployment's registry.key, or is damaged. Erasures of the last minutes before a ` +
        'loss stand there: put the object back from a copy of Objects, or take it away if it is not yours.',
    )
  return JSON.parse(text.slice(firstLine.length)) as Order
}
