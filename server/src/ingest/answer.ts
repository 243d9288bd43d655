// What is told of each event of a batch: where it was sealed, or the problem that kept it out.
import type { TenantKeys } from '../keys/tenant-keys.ts'
import type { KeyUnusable } from '../keys/unusable.ts'
import type { Sealable, SealedRun, SealOutcome } from '../store/sealable.ts'
import { factsSaltOf } from '../store/sealed-row.ts'
import type { Tenant } from '../tenants/tenants.ts'
import { type Problem, problem } from './problem.ts'

export type Accepted =
  | {
      readonly ok: true
      readonly kind: 'sealed' | 'duplicate'
      readonly id: string
      readonly tenant: string
      /** 32 hex digits. */
      readonly trail: string
      readonly seq: number
      /** Base64. */
      readonly hash: string
      readonly previous: string
      readonly sealedAt: string
      /** 32 hex digits. */
      readonly factsSalt: string
      /** What a receipt is signed over; for a duplicate a run of this one event. */
      readonly run: SealedRun
      /** Fields of the flat form that were moved to metadata. */
      readonly moved: readonly string[]
    }
  | { readonly ok: false; readonly problem: Problem }

/** An event on its way to a lane, as small as it gets: thousands may wait. */
export interface Ready {
  readonly index: number
  readonly id: string
  readonly tenant: Tenant<TenantKeys>
  readonly moved: readonly string[]
  readonly sealable: Sealable
}

/**
 * Empties an array that nobody reads any more. Those of a batch live for as long as it is under work, which makes them old;
 * and what stands in an old array becomes old with it, garbage or not, until the whole heap is collected
 * (docs/decisions/0021).
 */
export function empty(read: unknown[]): void {
  read.fill(undefined)
}

/**
 * What became of an event that was handed to its lane.
 * @param item the event as it was sent
 */
export function answer({ id, tenant, moved, sealable }: Ready, outcome: SealOutcome, item: unknown): Accepted {
  const told = { ok: true, id, tenant: tenant.id, trail: tenant.trail.id, moved } as const
  switch (outcome.kind) {
    case 'sealed':
      return {
        ...told,
        kind: 'sealed',
        seq: outcome.seq,
        hash: outcome.hash,
        previous: outcome.previous,
        sealedAt: outcome.run.sealedAt,
        factsSalt: factsSaltOf(sealable.bytes),
        run: outcome.run,
      }
    case 'duplicate': {
      const { trail, seq, hash, previous, sealedAt, factsSalt } = outcome
      const run = { trail, first: seq, last: seq, lastHash: hash, sealedAt }
      return { ...told, kind: 'duplicate', trail: trail.id, seq, hash, previous, sealedAt, factsSalt, run }
    }
    case 'id_reused':
      return {
        ok: false,
        problem: problem('id_reused', 'This id stands for an event with other content.', pointerIn(item, 'id')),
      }
    case 'overloaded':
      return {
        ok: false,
        problem: problem('rate_limited', "The tenant's queue is full; repeat the event with the same id."),
      }
    case 'unavailable':
      if (outcome.error.code === 'trail_stopped') return { ok: false, problem: problem('trail_stopped', trailStopped) }
      return { ok: false, problem: problem('unavailable', unavailableDetail(outcome.error.code)) }
    case 'unsealable':
      return { ok: false, problem: problem('internal_error', outcome.reason) }
    case 'stale':
      throw new Error('a stale outcome is prepared again, not answered')
  }
}

const trailStopped =
  'What is stored of this trail was changed by somebody; the operator has been told. The event was not stored.'

/** What a client may know of it; the cause is in the server's log. */
export function unavailableDetail(code: string): string {
  if (code === 'storage_full') return 'The storage is full. The event was not stored.'
  if (code === 'outcome_unknown')
    return 'The database went away while the event was stored. Repeat it with the same id to learn whether it was.'
  return 'The event was not stored. Repeat it later with the same id.'
}

/** The same of a key that is needed and not opened. */
export function withheldDetail({ code }: KeyUnusable): string {
  return code === 'kms_unreachable'
    ? 'The key management service cannot be reached, and the keys of this tenant are not open yet. Nothing was stored.'
    : 'The key management service does not open the keys of this tenant; the operator has to look into it. Nothing was stored.'
}

/** One problem stands for the first; the others are listed in it. */
export function severalProblems(problems: readonly Problem[]): Problem {
  const [first, ...others] = problems as [Problem, ...Problem[]]
  return others.length === 0
    ? first
    : {
        ...first,
        errors: problems.map(({ code, detail, pointer }) => ({
          code,
          detail,
          ...(pointer !== undefined && { pointer }),
        })),
      }
}

const flatNames = { id: 'event_id', tenant: 'tenant_id' } as const

/** Where id or tenant stands in the form in which the event was sent. */
export function pointerIn(item: unknown, name: 'id' | 'tenant'): string {
  const isFlat = typeof item === 'object' && item !== null && !Object.hasOwn(item, 'actor')
  return isFlat && Object.hasOwn(item, flatNames[name]) ? `/${flatNames[name]}` : `/${name}`
}
