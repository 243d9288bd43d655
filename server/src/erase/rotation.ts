// Rotation of a tenant's subject-wrap key: what makes destruction final. Wrapped keys are rows, and an old backup has the
// old rows; once the generation above them is destroyed outside the database, the rows of an erased person open under
// nothing, while everybody else's were wrapped anew.
//
//   begin      the next number is taken, the retiring generation is noted       keeper.rotations
//   make       the next generation is made in the provider, `keys subject made` is sealed
//   move       new buckets stand under it, if they stood under the old one      keeper.move_generation
//   rewrap     every bucket of a retiring generation is wrapped anew            keys/rewrap.ts
//   journal    the new rows are copied to Objects, so that a restored backup finds the living
//   destroy    `keys subject destroyed` is sealed, its order put into Objects, the generation destroyed in the provider
//   end        the note is removed
//
// Each step may be repeated, by several servers at once; who is cut off goes on at `begin`, which returns the same note.
import { type Control, encodeControl } from '@affidavit/trail'
import type { KeyProvider } from '../keys/provider.ts'
import { type Rewrapped, rewrapBuckets } from '../keys/rewrap.ts'
import type { KeyChest, TenantKeys } from '../keys/tenant-keys.ts'
import { KeyUnusable } from '../keys/unusable.ts'
import type { Pool, Queryable } from '../store/database.ts'
import type { Log } from '../store/log.ts'
import type { Objects } from '../store/objects.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import type { ForgettingParts } from './forgetting.ts'
import { writeJournal } from './journal.ts'
import type { Orders } from './orders.ts'

export interface RotationParts {
  readonly keeper: Pool
  readonly retention: Pool
  readonly tenants: Tenants<TenantKeys>
  readonly provider: KeyProvider
  readonly chest: KeyChest
  /** Null: no journal; then a restored backup loses the people of generations that were destroyed since. */
  readonly objects: Objects | null
  readonly orders: Orders
  readonly announce: ForgettingParts['announce']
  readonly log: Log
}

export interface Rotated extends Rewrapped {
  /** The generation that wraps new buckets now. */
  readonly generation: number
  readonly destroyed: readonly number[]
}

interface Note {
  readonly next: number
  readonly retiring: readonly number[]
}

/** A bucket has 1,024 people, a generation then some 16,000: so many are affected when one of them is forgotten. */
const bucketsPerGeneration = 16

/** Control entries count generations from 1, the provider from 0. */
const shown = (generation: number) => generation + 1

export class Rotation {
  readonly #parts: RotationParts

  constructor(parts: RotationParts) {
    this.#parts = parts
  }

  /** Rotates for every tenant with a destroyed key; problems are logged, and met again next time. */
  async runAll(): Promise<void> {
    await this.#forEach('select keeper.rotations_due() as tenant', [], (tenant) => this.subjectKey(tenant))
  }

  /**
   * Gives new buckets another generation where the current one wraps many: the fewer share one, the fewer are touched
   * when somebody is forgotten.
   */
  async spread(): Promise<void> {
    await this.#forEach('select keeper.full_generations($1) as tenant', [bucketsPerGeneration], (tenant) =>
      this.#retire(tenant, -1),
    )
  }

  async #forEach(
    text: string,
    values: unknown[],
    work: (tenant: Tenant<TenantKeys>) => Promise<unknown>,
  ): Promise<void> {
    const { keeper, tenants, log } = this.#parts
    const { rows } = await keeper.query<{ tenant: number }>(text, values)
    for (const { tenant: number } of rows) {
      try {
        const tenant = (await tenants.byNumber([number])).get(number)
        if (tenant?.state === 'open') await work(tenant)
      } catch (error) {
        log.warn({ err: error, tenant: number }, 'a key rotation could not be finished now; it is tried again')
      }
    }
  }

  /**
   * Retires the generations above destroyed keys, or with `all` every one.
   * @returns undefined if there was nothing to do
   * @throws KeyUnusable, StoreUnavailable, SealUnavailable; repeat it, it goes on where it stopped
   */
  async subjectKey(tenant: Tenant<TenantKeys>, all = false): Promise<Rotated | undefined> {
    const done: Rotated[] = []
    for (const generation of all ? await this.#live(tenant) : [null]) {
      for (;;) {
        // One that was cut off comes first, whatever was asked for.
        const rotated = await this.#retire(tenant, generation)
        if (rotated === undefined) break
        done.push(rotated)
        if (generation !== null && rotated.destroyed.includes(generation)) break
      }
    }
    if (done.length === 0) return undefined
    return {
      generation: done.at(-1)!.generation,
      destroyed: done.flatMap(({ destroyed }) => destroyed),
      moved: done.reduce((sum, { moved }) => sum + moved, 0),
      renewed: done.reduce((sum, { renewed }) => sum + renewed, 0),
    }
  }

  async #live(tenant: Tenant<TenantKeys>): Promise<number[]> {
    const { rows } = await this.#parts.keeper.query<{ generation: number }>(
      'select keeper.live_generations($1) as generation',
      [tenant.number],
    )
    return rows.map(({ generation }) => generation)
  }

  /** @param generation null: the oldest above a destroyed key; −1: none */
  async #retire(tenant: Tenant<TenantKeys>, generation: number | null): Promise<Rotated | undefined> {
    const { keeper, provider, objects } = this.#parts
    const note = await this.#begin(tenant, generation)
    if (note === undefined) return undefined
    const next = await this.#make(tenant, note.next)
    await keeper.query('select keeper.move_generation($1, $2)', [tenant.number, next])
    const rewrapped = await rewrapBuckets({ keeper, provider, tenant, next })
    if (objects !== null && note.retiring.length > 0) await writeJournal({ keeper, objects, tenant, generation: next })
    for (const old of note.retiring) {
      await this.#order(tenant, { kind: 'keys', about: 'subject', step: 'destroyed', generation: shown(old) })
      await provider.destroyGeneration(tenant.keyring, old)
    }
    await keeper.query('select keeper.end_rotation($1, $2)', [tenant.number, next])
    return { ...rewrapped, generation: next, destroyed: note.retiring }
  }

  /** A further data key: confidential values are encrypted under it from now on, within 10 s on every server. */
  async dataKey(tenant: Tenant<TenantKeys>): Promise<number> {
    const { keeper, chest, tenants } = this.#parts
    const generation = tenant.keys.dataGeneration + 1
    const wrapped = await chest.nextDataKey(tenant.keyring, generation)
    await this.#announceOnce(tenant, { kind: 'keys', about: 'data', step: 'made', generation: shown(generation) })
    await keeper.query('select keeper.add_data_key($1, $2, $3)', [tenant.number, generation, wrapped])
    await tenants.byNumber([tenant.number])
    return generation
  }

  async #begin(tenant: Tenant<TenantKeys>, generation: number | null): Promise<Note | undefined> {
    const { rows } = await this.#parts.keeper.query<{ next: number; retiring: number[] }>(
      'select next, retiring from keeper.begin_rotation($1, $2)',
      [tenant.number, generation],
    )
    return rows[0]
  }

  /** A number that was used before never comes back: a restored database may not know that it was. */
  async #make(tenant: Tenant<TenantKeys>, wanted: number): Promise<number> {
    const { keeper, provider } = this.#parts
    for (let next = wanted; ; next++) {
      try {
        await provider.createGeneration(tenant.keyring, next)
        await this.#announceOnce(tenant, { kind: 'keys', about: 'subject', step: 'made', generation: shown(next) })
        return next
      } catch (error) {
        if (!(error instanceof KeyUnusable) || error.code !== 'key_destroyed') throw error
        await keeper.query('select keeper.skip_generation($1, $2)', [tenant.number, next])
      }
    }
  }

  /** A database that is put back has to take up the journal before anybody is served. */
  async #order(tenant: Tenant<TenantKeys>, control: KeyControl): Promise<void> {
    const seq = await this.#announceOnce(tenant, control)
    await this.#parts.orders.write({ seq, control: encodeControl(control), request: null }, tenant.trail.number, [])
  }

  /** Such an entry says the same however often it stands there; once is enough. @returns its seq */
  async #announceOnce(tenant: Tenant<TenantKeys>, control: KeyControl): Promise<number> {
    const { retention, announce } = this.#parts
    return (await seqOf(retention, tenant.trail.number, encodeControl(control))) ?? announce(tenant, control, {})
  }
}

type KeyControl = Extract<Control, { step: string }>

async function seqOf(retention: Queryable, trail: number, line: string): Promise<number | undefined> {
  const { rows } = await retention.query<{ seq: number }>(
    'select seq from affidavit.control_entries($1, 0) where control = $2 limit 1',
    [trail, line],
  )
  return rows[0]?.seq
}
