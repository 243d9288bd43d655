// The proof that an epoch holds one head for a tenant's slot: computed when asked, from the bodies of 256 slots, the
// secret and the epoch's crown. Other tenants' bodies are read here, and only their blinded hashes leave.
import { formatCheckpoint, formatSlotProof } from '@affidavit/trail'
import { trailName } from '../keys/log-key.ts'
import type { Queryable } from '../store/database.ts'
import { block_slots, type SlotBlinds } from './slots.ts'

export type SlotProofOutcome =
  | { readonly kind: 'proof'; readonly epoch: number; readonly text: string }
  /** There is no such epoch, or the tenant was in none by then. */
  | { readonly kind: 'not_found' }
  /** It was no audit epoch, and what a proof needs was kept for some days only. */
  | { readonly kind: 'expired' }

export interface ProofParts {
  /** Of the role `notary`. */
  readonly db: Queryable
  readonly blinds: SlotBlinds
  readonly logName: string
}

interface Place {
  number: number
  index: number
  depth: number
  root: Buffer
  crown: Buffer | null
  slot: number
}

/** @throws Error when what is stored of the epoch does not give its root */
export async function slotProof(
  { db, blinds, logName }: ProofParts,
  tenant: number,
  epoch: number | 'latest',
): Promise<SlotProofOutcome> {
  const { rows } = await db.query<Place>(
    {
      name: 'slot place',
      text: `select e.number, e.index, e.depth, e.root, e.crown, s.slot from affidavit.registry_epochs e, affidavit.slots s
      where e.number = coalesce($1, (select epoch from affidavit.registry)) and s.tenant = $2`,
    },
    [epoch === 'latest' ? null : epoch, tenant],
  )
  const place = rows[0]
  if (place === undefined) return { kind: 'not_found' }
  if (place.crown === null) return { kind: 'expired' }
  const bodies = await readBlock(db, logName, place)
  const body = bodies.get(place.slot)
  if (body === undefined) return { kind: 'not_found' }
  const { blind, path, root } = blinds.path(place.number, place.slot, bodies, place.crown)
  if (!place.root.equals(root)) throw new Error(`the slots of epoch ${place.number} are not as they were signed`)
  const { number, index, slot, depth } = place
  const text = formatSlotProof({ epoch: number, index, slot, depth, blind, path, body: body.toString('utf8') })
  return { kind: 'proof', epoch: number, text }
}

async function readBlock(db: Queryable, logName: string, { slot, number }: Place): Promise<Map<number, Buffer>> {
  const first = slot - (slot % block_slots)
  const { rows } = await db.query<{ slot: number; trail: string; size: number; root: Buffer }>(
    {
      name: 'slot block',
      text: `select s.slot, replace(b.trail_id::text, '-', '') as trail, b.size, b.root
      from affidavit.slots s join lateral (
        select trail_id, size, root from affidavit.slot_bodies
        where slot = s.slot and epoch <= $3 order by epoch desc limit 1) b on true
      where s.slot >= $1 and s.slot < $2`,
    },
    [first, first + block_slots, number],
  )
  return new Map(
    rows.map((row) => [
      row.slot,
      Buffer.from(formatCheckpoint(trailName(logName, row.trail), row.size, row.root), 'utf8'),
    ]),
  )
}
