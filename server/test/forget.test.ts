// Forgetting over HTTP, judged by the offline verifier: erasure, redaction, holds, retention, truncation, the end of a
// tenant. A real server on a real database.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { carriedOut, event, type Forgetter, forgetter, judged, notarized, rest } from './forget-fixture.ts'

let all: Forgetter
const dayMs = 86_400_000

beforeAll(async () => {
  all = await forgetter()
})
afterAll(() => all?.stop())

const searched = async (query: string) => (await all.api.get(`/v1/events?${query}`)).body.data

describe('erasing a person', () => {
  test('two keys, one control entry; search, reading and packs show it, and every proof holds', async () => {
    const { api, second, database } = all
    const events = ['anna', 'bob', 'anna', 'bob'].map((person, n) => event('er', person, { metadata: { n } }))
    events.push(
      event('er', 'carl', { targets: [{ type: 'user', id: 'anna', name: 'Anna', email: 'anna@example.com' }] }),
    )
    await api.post('/v1/events/batch', events)
    await notarized(all, 'er')
    expect((await judged(api, 'er')).outcome).toBe('held')

    const asked = await api.post('/v1/erasures', {
      tenant: 'er',
      subject: { type: 'user', id: 'anna' },
      reason: 'asked to be forgotten',
    })
    expect(asked).toMatchObject({
      status: 202,
      body: { state: 'waiting', kind: 'erase', subjects: [expect.any(String)] },
    })
    const { id } = asked.body
    // The one who asked cannot approve, and nothing has happened yet.
    expect(await api.post(`/v1/approvals/${id}`, { decision: 'approve' })).toMatchObject({
      status: 403,
      body: { code: 'same_principal' },
    })
    expect(await searched('tenant=er&q=anna')).toHaveLength(3)

    const done = await second.post(`/v1/approvals/${id}`, { decision: 'approve' })
    expect(done).toMatchObject({ status: 200, body: { state: 'done', control_seq: expect.any(Number), holds: [] } })
    expect((await api.get(`/v1/erasures/${id}`)).body).toEqual(done.body)
    expect((await api.get('/v1/erasures?tenant=er')).body.data).toHaveLength(1)
    expect((await second.post(`/v1/approvals/${id}`, { decision: 'approve' })).status).toBe(409)

    // Names and addresses find nothing, the id still does, and what is found says that it was erased.
    expect(await searched('tenant=er&q=anna%40example.com')).toEqual([])
    const byId = await searched('tenant=er&actor=anna')
    expect(byId).toHaveLength(2)
    expect(byId[0].erased).toContain('/actor/name')
    expect(JSON.stringify(byId)).not.toContain('Name of anna')
    expect((await searched('tenant=er&actor=bob'))[0].actor.name).toBe('Name of bob')
    await notarized(all, 'er')
    const verdict = await judged(api, 'er', { now: Date.now() + 40 * dayMs })
    expect(verdict).toMatchObject({ outcome: 'held', findings: [] })
    // Reasons and principals stand under the entry's facts.
    const [entry] = (await searched('tenant=er&control=true&limit=50')).filter(
      ({ seq }: { seq: number }) => seq === done.body.control_seq,
    )
    expect(JSON.parse(entry.facts)).toMatchObject({
      reason: 'asked to be forgotten',
      requested_by: { name: 'Operator' },
      approved_by: { name: 'Second principal' },
    })

    const { rows } = await database.superuser.query(
      `select s.erased_at is not null as erased, s.id_token is not null as id, m.kind, m.data,
         (select count(*)::int from affidavit.personas p where p.subject = s.number) as personas,
         (select count(*)::int from affidavit.persona_tokens p where p.subject = s.number) as tokens,
         (select count(*)::int from keeper.subject_keys k where k.subject = s.number) as keys
       from affidavit.subjects s join affidavit.messages m on m.data -> 'subjects' @> to_jsonb(s.number)`,
    )
    expect(rows).toEqual([
      expect.objectContaining({ erased: true, id: true, personas: 0, tokens: 0, keys: 0, kind: 'subject.erased' }),
    ])
    // Coming back makes another person.
    await api.post('/v1/events', event('er', 'anna'))
    expect(await searched('tenant=er&q=anna%40example.com')).toHaveLength(1)
    await notarized(all, 'er')
    expect((await judged(api, 'er')).outcome).toBe('held')
  })

  test('by e-mail address: every subject whose own address it is, and nobody who was only mentioned beside it', async () => {
    const { api } = all
    await api.post('/v1/events/batch', [
      event('mail', 'dora'),
      { ...event('mail', 'x'), actor: { type: 'service', id: 'job', email: 'Dora@Example.com' } },
      {
        ...event('mail', 'x'),
        actor: { type: 'user', id: 'eve', name: 'Eve' },
        metadata: { email: 'dora@example.com' },
      },
    ])
    const asked = await api.post('/v1/erasures', {
      tenant: 'mail',
      subject: { email: 'DORA@example.com' },
      reason: 'r',
    })
    expect(asked.body.subjects.length).toBeGreaterThanOrEqual(2)
    expect(JSON.stringify(asked.body)).not.toMatch(/dora/i)
    await all.second.post(`/v1/approvals/${asked.body.id}`, { decision: 'approve' })
    const shown = await searched('tenant=mail&action=user.*')
    expect(JSON.stringify(shown)).not.toMatch(/dora@/i)
    expect(shown.some(({ actor }: { actor: { name?: string } }) => actor.name === 'Eve')).toBe(true)
    const again = await api.post('/v1/erasures', {
      tenant: 'mail',
      subject: { email: 'dora@example.com' },
      reason: 'r',
    })
    expect(again.status).toBe(404)
  })

  test('a rejected request removes nothing', async () => {
    const { api, second } = all
    await api.post('/v1/events', event('no', 'anna'))
    const { body } = await api.post('/v1/erasures', {
      tenant: 'no',
      subject: { type: 'user', id: 'anna' },
      reason: 'r',
    })
    expect((await second.post(`/v1/approvals/${body.id}`, { decision: 'reject' })).body.state).toBe('rejected')
    expect((await second.post(`/v1/approvals/${body.id}`, { decision: 'approve' })).status).toBe(409)
    expect((await searched('tenant=no&actor=anna'))[0].actor.name).toBe('Name of anna')
  })
})

test('redaction removes one payload, in search and packs, and the chain stays whole', async () => {
  const { api } = all
  const { body: kept } = await api.post('/v1/events', event('red', 'anna'))
  const sent = event('red', 'anna', {
    id: 'with-a-secret',
    metadata: { token: 'hunter2secret' },
    context: { session_id: 'sess-1' },
  })
  const { body: secret } = await api.post('/v1/events', sent)
  expect(await searched('tenant=red&q=hunter2secret')).toHaveLength(1)
  const done = await carriedOut(all, '/v1/redactions', { tenant: 'red', seqs: [secret.seq], reason: 'a secret' })
  expect(done.state).toBe('done')
  expect(await searched('tenant=red&q=hunter2secret')).toEqual([])
  const { body: shown } = await api.get(`/v1/events/${secret.id}?tenant=red`)
  expect(shown).toMatchObject({ redacted: true, facts: null, seq: secret.seq })
  expect((await api.get(`/v1/events/${kept.id}?tenant=red`)).body.actor.name).toBe('Name of anna')
  const size = await notarized(all, 'red')
  expect(await judged(api, 'red', { now: Date.now() + 40 * dayMs })).toMatchObject({ outcome: 'held', findings: [] })
  const lines = (await api.get(`/v1/trails/red/content?from=0&to=${size}`)).body.toString().trim().split('\n')
  expect(lines).toHaveLength(size)
  expect(JSON.parse(lines[secret.seq])).toEqual({ seq: secret.seq })
  // Repeating the event with its id is answered as before, without what is gone.
  const repeat = await api.post('/v1/events', sent)
  expect(repeat).toMatchObject({ status: 200, body: { seq: secret.seq, hash: secret.hash, facts_salt: null } })
  const past = await api.post('/v1/redactions', { tenant: 'red', seqs: [size + 10], reason: 'r' })
  expect(past).toMatchObject({ status: 422, body: { pointer: '/seqs/0' } })
})

describe('legal holds', () => {
  test('beat an erasure, which is queued and carried out after the release', async () => {
    const { api, second } = all
    await api.post('/v1/events/batch', [event('held', 'anna'), event('held', 'bob')])
    const hold = await api.post('/v1/holds', {
      tenant: 'held',
      subject: { type: 'user', id: 'anna' },
      reason: 'case 7',
    })
    expect(hold).toMatchObject({ status: 201, body: { scope: 'subjects', subjects: 1, released_at: null } })
    const held = await carriedOut(all, '/v1/erasures', {
      tenant: 'held',
      subject: { type: 'user', id: 'anna' },
      reason: 'asked',
    })
    expect(held).toMatchObject({ state: 'held', holds: [hold.body.id], control_seq: null })
    const free = await carriedOut(all, '/v1/erasures', {
      tenant: 'held',
      subject: { type: 'user', id: 'bob' },
      reason: 'r',
    })
    expect(free.state).toBe('done')
    expect((await api.get('/v1/holds?tenant=held')).body.data[0].waiting).toEqual([held.id])
    expect((await searched('tenant=held&actor=anna'))[0].actor.name).toBe('Name of anna')
    await notarized(all, 'held')
    expect((await judged(api, 'held', { now: Date.now() + 40 * dayMs })).outcome).toBe('held')

    expect((await carriedOut(all, `/v1/holds/${hold.body.id}/release`, { reason: 'case closed' })).state).toBe('done')
    for (let n = 0; n < 1_200 && (await api.get(`/v1/approvals/${held.id}`)).body.state !== 'done'; n++) await rest(50)
    expect((await second.get(`/v1/approvals/${held.id}`)).body).toMatchObject({ state: 'done', holds: [] })
    expect((await searched('tenant=held&actor=anna'))[0].erased).toContain('/actor/name')
    await notarized(all, 'held')
    expect(await judged(api, 'held', { now: Date.now() + 40 * dayMs })).toMatchObject({ outcome: 'held', findings: [] })
  })

  test('a hold on a range or on another person in the same entry holds, too', async () => {
    const { api } = all
    const target = { targets: [{ type: 'user', id: 'tom', name: 'Tom', email: 'tom@example.com' }] }
    const { body: first } = await api.post('/v1/events', event('range', 'anna'))
    await api.post('/v1/events', event('range', 'bob', target))
    await api.post('/v1/holds', { tenant: 'range', from: first.seq, to: first.seq + 1, reason: 'r' })
    await api.post('/v1/holds', { tenant: 'range', subject: { email: 'tom@example.com' }, reason: 'r' })
    for (const person of ['anna', 'bob', 'tom']) {
      const act = await carriedOut(all, '/v1/erasures', {
        tenant: 'range',
        subject: { type: 'user', id: person },
        reason: 'r',
      })
      expect([person, act.state, act.holds.length]).toEqual([person, 'held', 1])
    }
    const redacted = await carriedOut(all, '/v1/redactions', { tenant: 'range', seqs: [first.seq + 1], reason: 'r' })
    expect(redacted.state).toBe('held')
    expect((await carriedOut(all, '/v1/deletions', { tenant: 'range', reason: 'r' })).state).toBe('held')
    expect((await api.get('/v1/tenants/range')).body.state).toBe('open')
    expect(await api.post('/v1/holds', { tenant: 'range', from: 3, reason: 'r' })).toMatchObject({ status: 422 })
  })
})
