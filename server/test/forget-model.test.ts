// Holds × erasure × redaction × retention, in any order: a model says what must still be there and what must be gone
// after every act, the server must agree line by line, and the offline verifier must find nothing, even long after.
import type { Control } from '@affidavit/trail'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { opening } from '../src/assembly/opening.ts'
import { openKeys } from '../src/keys/open-keys.ts'
import { controlEntry } from '../src/seal/control.ts'
import { carriedOut, event, type Forgetter, judged, notarized, rest } from './forget-fixture.ts'
import { Api } from './http-api.ts'
import { dayMs, type SealedDays, sealedDays } from './sealed-days.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const runs = process.env.AFFIDAVIT_LONG === '1' ? 40 : 6
const people = ['anna', 'bob', 'carl'] as const
type Person = (typeof people)[number]

/** Entries 2–7 are 40 days old, 8–10 are 5 days old; payloads are kept 30 days. By actor and target. */
const old: readonly (readonly Person[])[] = [
  ['anna'],
  ['bob', 'anna'],
  ['bob'],
  ['carl', 'bob'],
  ['carl'],
  ['anna', 'carl'],
]
const young: readonly (readonly Person[])[] = [['anna', 'bob'], ['bob'], ['carl']]
const first = 2
const entries = [...old, ...young].map((who, n) => ({ seq: first + n, who, isDue: n < old.length }))

type Act =
  | { kind: 'hold'; person: Person }
  | { kind: 'hold-range'; from: number; to: number }
  | { kind: 'hold-all' }
  | { kind: 'release'; which: number }
  | { kind: 'erase'; person: Person }
  | { kind: 'redact'; seq: number }
  | { kind: 'prune' }

const person = fc.constantFrom(...people)
const seq = fc.integer({ min: first, max: first + entries.length - 1 })
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('hold' as const), person }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(seq, fc.integer({ min: 1, max: 3 }))
      .map(([from, length]) => ({ kind: 'hold-range' as const, from, to: from + length })),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'hold-all' as const }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('erase' as const), person }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('redact' as const), seq }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'prune' as const }) },
)

interface Hold {
  readonly id: string
  readonly covers: (entry: (typeof entries)[number]) => boolean
}

/** What must be true, by the words of docs/spec/control.md. */
class Model {
  holds: Hold[] = []
  readonly erased = new Set<Person>()
  readonly gone = new Set<number>()
  waiting: Extract<Act, { kind: 'erase' | 'redact' }>[] = []

  isHeld(entry: (typeof entries)[number]): boolean {
    return this.holds.some(({ covers }) => covers(entry))
  }

  /** @returns whether it is carried out now */
  forget(wish: Extract<Act, { kind: 'erase' | 'redact' }>): boolean {
    const concerned = entries.filter((entry) =>
      wish.kind === 'erase' ? entry.who.includes(wish.person) : entry.seq === wish.seq,
    )
    if (concerned.some((entry) => this.isHeld(entry))) return false
    if (wish.kind === 'erase') this.erased.add(wish.person)
    else this.gone.add(wish.seq)
    return true
  }

  prune(): void {
    for (const entry of entries) if (entry.isDue && !this.isHeld(entry)) this.gone.add(entry.seq)
  }

  release(hold: Hold): void {
    this.holds = this.holds.filter((one) => one !== hold)
    this.waiting = this.waiting.filter((wish) => !this.forget(wish))
  }

  /** People whose values each entry must still show; null where the whole payload is gone. */
  expected(): (Person[] | null)[] {
    return entries.map(({ seq, who }) => (this.gone.has(seq) ? null : who.filter((one) => !this.erased.has(one))))
  }
}

let days: SealedDays
let server: StartedServer
let all: Forgetter

beforeAll(async () => {
  days = await sealedDays()
  const keys = await openKeys({ keeper: days.database.store.pool('keeper'), folder: days.keysFolder })
  const at = (ago: number) => Date.now() - ago * dayMs
  const target = (id: string) => [{ type: 'user', id, name: `Target ${id}`, email: `${id}@example.com` }]
  const made = (tenant: string, rows: typeof old) =>
    rows.map(([actor, other]) => event(tenant, actor!, other === undefined ? {} : { targets: target(other) }))
  for (let run = 0; run < runs; run++) {
    const id = `model-${run}`
    const tenant = await days.tenant(id)
    await days.database.superuser.query('update affidavit.trails set shard = 0')
    const trail = { ...tenant.trail, shard: 0 }
    const policy: Control = { kind: 'policy', about: 'retention', category: 'all', retention: 30, from: 'new' }
    await days.sealRaw(at(60), [opening(keys, trail, 0, null), controlEntry(trail, 0, policy, {}, at(60))])
    await days.seal(id, at(40), made(id, old))
    await days.seal(id, at(5), made(id, young))
  }
  await days.tidy()
  await days.database.superuser.query(
    'update affidavit.shards set position = (select count(*) from affidavit.events), sealed_at = (select max(sealed_at) from affidavit.events) where shard = 0',
  )
  server = await startedServer(days.database.url, { AFFIDAVIT_KEYS_DIR: days.keysFolder })
  const api = await Api.of(server.url, server.key)
  const made2 = await api.post('/v1/keys', { name: 'Second', scopes: ['forget:approve', 'forget:read'] })
  all = { api, second: api.with(made2.body.key), database: days.database, server, stop: async () => {} }
})
afterAll(async () => {
  await server?.stop()
  await days?.drop()
})

async function apply(tenant: string, model: Model, one: Act): Promise<void> {
  const { api } = all
  const place = async (body: object, covers: Hold['covers']) => {
    const hold = await api.post('/v1/holds', { tenant, reason: 'r', ...body })
    // Nobody can be held who was erased before.
    if (hold.status === 201) model.holds.push({ id: hold.body.id, covers })
    else
      expect([hold.status, body]).toEqual([
        404,
        { subject: { type: 'user', id: expect.toSatisfy((id) => model.erased.has(id)) } },
      ])
  }
  switch (one.kind) {
    case 'hold':
      return place({ subject: { type: 'user', id: one.person } }, ({ who }) => who.includes(one.person))
    case 'hold-range':
      return place({ from: one.from, to: one.to }, (entry) => entry.seq >= one.from && entry.seq < one.to)
    case 'hold-all':
      return place({}, () => true)
    case 'release': {
      const hold = model.holds[one.which % Math.max(1, model.holds.length)]
      if (hold === undefined) return
      await carriedOut(all, `/v1/holds/${hold.id}/release`, { reason: 'r' })
      model.release(hold)
      return settled(tenant, model)
    }
    case 'erase': {
      const asked = await api.post('/v1/erasures', { tenant, subject: { type: 'user', id: one.person }, reason: 'r' })
      expect(asked.status).toBe(model.erased.has(one.person) ? 404 : 202)
      if (asked.status === 202) await decide(asked.body.id, model, one)
      return
    }
    case 'redact': {
      const asked = await api.post('/v1/redactions', { tenant, seqs: [one.seq], reason: 'r' })
      return decide(asked.body.id, model, one)
    }
    case 'prune':
      await api.post('/v1/prunes', { tenant })
      model.prune()
  }
}

async function decide(id: string, model: Model, one: Extract<Act, { kind: 'erase' | 'redact' }>): Promise<void> {
  const { body } = await all.second.post(`/v1/approvals/${id}`, { decision: 'approve' })
  const isDone = model.forget(one)
  if (!isDone) model.waiting.push(one)
  expect(body.state).toBe(isDone ? 'done' : 'held')
}

/** What a release lets go on goes on by itself, after the answer. */
async function settled(tenant: string, model: Model): Promise<void> {
  for (let n = 0; n < 200; n++, await rest(25)) {
    const { body } = await all.api.get(`/v1/approvals?tenant=${tenant}&state=held`)
    const { body: open } = await all.api.get(`/v1/approvals?tenant=${tenant}&state=approved`)
    const { body: begun } = await all.api.get(`/v1/approvals?tenant=${tenant}&state=announced`)
    if (body.data.length === model.waiting.length && open.data.length + begun.data.length === 0) return
  }
  throw new Error(`${tenant}: other requests wait than the model says`)
}

async function shown(tenant: string): Promise<(Person[] | null)[]> {
  const to = first + entries.length
  const { body } = await all.api.get(`/v1/trails/${tenant}/content?from=${first}&to=${to}`)
  const lines = body.toString().trim().split('\n') as string[]
  return lines.map((line) => {
    const { facts, personal = [] } = JSON.parse(line) as { facts?: object; personal?: { n: number; content: string }[] }
    if (facts === undefined) {
      expect(personal).toEqual([])
      return null
    }
    return personal.map(({ content }) => people.find((one) => content.includes(`${one}@example.com`))!)
  })
}

test('any order of acts: the server shows what the model says, and the verifier has nothing to say', async () => {
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 6, maxLength: 12 }), async (acts) => {
      const tenant = `model-${run++}`
      const model = new Model()
      await notarized(all, tenant)
      for (const one of acts) {
        await apply(tenant, model, one)
        expect(await shown(tenant)).toEqual(model.expected())
      }
      await notarized(all, tenant)
      expect(await judged(all.api, tenant, { now: Date.now() + 1_000 })).toMatchObject({
        outcome: 'held',
        findings: [],
      })
      expect(await judged(all.api, tenant, { now: Date.now() + 40 * dayMs })).toMatchObject({
        outcome: 'held',
        findings: [],
      })
    }),
    // A case uses its tenant up: there is nothing left to shrink on.
    { numRuns: runs, endOnFailure: true },
  )
}, 240_000)
