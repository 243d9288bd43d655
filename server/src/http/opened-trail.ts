// The trail that a request names, as one snapshot shows it: what tiles, contents and packs are read from.
import Type from 'typebox'
import type { Reader } from '../query/row.ts'
import { readTrails, type Trail } from '../query/spans.ts'
import { type Notarized, readMinimum, readNotarized } from '../query/tiles.ts'
import type { Database } from '../store/database.ts'
import { type Refused, refuse } from './refused.ts'

export interface OpenedTrail {
  readonly reader: Reader
  readonly trail: Trail
  /** The tenant's chain of trails, oldest first. */
  readonly trails: readonly Trail[]
  /** Undefined before the first checkpoint. */
  readonly notarized: Notarized | undefined
  /** Entries below were truncated. */
  readonly minimum: number
}

/** Parts of payloads that a reader may not get. */
export type Withheld = 'confidential' | 'operator'

export const seqPattern = '^(0|[1-9][0-9]{0,15})$'
export const trailParam = Type.String({
  pattern: '^[0-9a-f]{32}$',
  description: 'An earlier trail of the tenant; default: the newest',
})

/** @param id null: the newest. @throws Refused `not_found` */
export function openTrail(store: Database, reader: Reader, id: string | null): Promise<OpenedTrail> {
  return store.pool('reader').asTenant(reader.tenant.number, async (session) => {
    const trails = await readTrails(session, reader.tenant.number)
    const trail = id === null ? trails.at(-1) : trails.find((one) => one.id === id)
    if (trail === undefined) throw refuse('not_found', 'The tenant has no such trail.')
    const [notarized, minimum] = await Promise.all([readNotarized(session, trail), readMinimum(session, trail)])
    return { reader, trails, trail, notarized, minimum }
  })
}

export const notNotarized = (): Refused =>
  refuse('not_notarized', 'The trail has no checkpoint yet.', undefined, { 'retry-after': '1' })

export const withheldFrom = ({ confidential, operator }: Reader): Withheld[] => [
  ...(confidential ? [] : ['confidential' as const]),
  ...(operator ? [] : ['operator' as const]),
]
