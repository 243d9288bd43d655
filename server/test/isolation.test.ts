// Tenant escape over HTTP: for every operation, a key of one tenant (alpha) with everything that belongs to another
// (bravo) learns nothing, not even whether it exists, and changes nothing. The operations come from the running server's
// document: one without a case here fails the suite.
import { encodeManifest, PackReader, sha256 } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type Answer, Api, type Ask } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let operator: Api
/** Holds a key of alpha with every scope that a tenant's key may have. */
let alpha: Api
let bravo: Belongings
let own: Belongings

/** What a tenant has that another might try. */
interface Belongings {
  readonly tenant: string
  readonly trail: string
  readonly event: string
  readonly receipt: string
  readonly keyId: string
  readonly key: string
  readonly cursor: string
  /** Cursor of a filtered search. */
  readonly filtered: string
  /** A request to forget that waits, and a legal hold. */
  readonly act: string
  readonly hold: string
}

const tenantScopes = [
  ...['events:write', 'events:read', 'events:confidential', 'verify', 'tenants:read', 'keys:manage', 'keys:rotate'],
  ...['forget:read', 'forget:request', 'forget:approve', 'holds:place'],
]
/** Stands in every value of bravo's events, and nowhere else. */
const secret = 'bravosecret'

const eventOf = (tenant: string, mark: string) => ({
  tenant,
  id: `${mark}-event`,
  action: `${mark}.done`,
  category: 'billing',
  actor: {
    type: 'service',
    id: `${mark}-actor`,
    email: `${mark}@example.com`,
    name: `${mark} name`,
    team: `${mark}-team`,
  },
  targets: [{ type: 'user', id: `${mark}-target`, email: `${mark}-target@example.com` }],
  outcome: 'denied',
  reason: `${mark} reason`,
  context: {
    ip: mark === secret ? '203.0.113.77' : '198.51.100.1',
    request_id: `${mark}-request`,
    trace_id: `${mark}-trace`,
    session_id: `${mark}-session`,
    auth_method: 'mtls',
  },
  metadata: { [`${mark}key`]: `${mark}-value` },
  changes: [{ path: '/x', before: `${mark}-before`, after: 1 }],
})

async function furnish(tenant: string, mark: string): Promise<Belongings> {
  const { body: made } = await operator.put(`/v1/tenants/${tenant}`, {
    name: `${mark} name`,
    policy: { confidential: ['/changes'] },
  })
  const { body: key } = await operator.post('/v1/keys', { name: `${mark} key`, tenant, scopes: tenantScopes })
  for (let n = 0; n < 3; n++) await operator.post('/v1/events', { ...eventOf(tenant, mark), id: `${mark}-${n}` })
  const { body: event } = await operator.post('/v1/events', eventOf(tenant, mark))
  const subject = { type: 'service', id: `${mark}-actor` }
  const { body: act } = await operator.post('/v1/erasures', { tenant, subject, reason: mark })
  const { body: hold } = await operator.post('/v1/holds', { tenant, from: 0, to: 1, reason: mark })
  while ((await operator.get(`/v1/trails/${tenant}`)).body.size <= event.seq)
    await new Promise((wait) => setTimeout(wait, 30))
  return {
    tenant,
    trail: made.trail,
    event: event.id,
    receipt: event.receipt,
    keyId: key.id,
    key: key.key,
    cursor: (await operator.get(`/v1/events?tenant=${tenant}&limit=1`)).body.next,
    filtered: (await operator.get(`/v1/events?tenant=${tenant}&limit=1&action=${mark}.*`)).body.next,
    act: act.id,
    hold: hold.id,
  }
}

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  operator = await Api.of(server.url, server.key)
  bravo = await furnish('bravo', secret)
  own = await furnish('alpha', 'alphamark')
  alpha = operator.with(own.key)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

const nothing = {
  tenant: 'nobody',
  trail: '0123456789abcdef0123456789abcdef',
  event: 'no-such-event',
  keyId: 'AAAAAAAAAAAA',
  act: '00000000-0000-4000-8000-000000000000',
  hold: '0123456789abcdef0123456789abcdef',
}

/** An answer without what differs from request to request. */
const told = ({ status, headers, body }: Answer) => ({
  status,
  type: headers.get('content-type'),
  body: Buffer.isBuffer(body) ? body.toString('latin1') : body,
})

const encode = encodeURIComponent

/** Asks for bravo's and for what nobody has: the answers must not differ, and must not hold anything of bravo's. */
async function sameAsNothing(ofBravo: string, ofNobody: string, ask: Ask = {}, askNobody: Ask = ask): Promise<void> {
  const theirs = told(await alpha.ask(ofBravo, ask))
  expect(theirs).toEqual(told(await alpha.ask(ofNobody, askNobody)))
  expect(theirs.status).toBeGreaterThanOrEqual(400)
  hides(theirs)
}

function hides(answer: object): void {
  const text = JSON.stringify(answer)
  for (const word of [secret, bravo.trail, 'bravo']) expect(text).not.toContain(word)
}

/** Everything that is stored of bravo, as the operator sees it. */
async function bravoNow(): Promise<object> {
  const { body: events } = await operator.get('/v1/events?tenant=bravo&control=true&limit=1000')
  const { body: tenant } = await operator.get('/v1/tenants/bravo')
  const { body: keys } = await operator.get('/v1/keys?tenant=bravo')
  const states = keys.data.map(({ id, revoked_at }: Record<string, string>) => [id, revoked_at])
  return { hashes: events.data.map(({ hash }: { hash: string }) => hash), tenant, states }
}

const trailCase = (part: string) => async () => {
  await sameAsNothing(`/v1/trails/bravo${part}`, `/v1/trails/nobody${part}`)
}

/** Something that is asked or done for a tenant that the body names. */
const bodyCase = (path: string, more: object) => async () => {
  const before = await bravoNow()
  const ask = (tenant: string) => ({ method: 'POST', body: { tenant, ...more } })
  await sameAsNothing(path, path, ask('bravo'), ask('nobody'))
  expect(await bravoNow()).toEqual(before)
}

/** A list that is narrowed to the own tenant without being asked. */
const actsCase = (path: string) => async () => {
  await sameAsNothing(`${path}?tenant=bravo`, `${path}?tenant=nobody`)
  const { body } = await alpha.get(path)
  expect(body.data.map(({ id }: { id: string }) => id)).toEqual([own.act])
  hides(body)
}

const subject = { type: 'service', id: `${secret}-actor` }

/** One case per operation, by its id. */
const cases: Record<string, () => Promise<void>> = {
  recordEvent: async () => {
    const before = await bravoNow()
    const event = (tenant: string) => ({ ...eventOf(tenant, 'x'), id: 'intruder' })
    const flat = (tenant: string) => ({ action: 'x.y', actor_id: 'u', tenant_id: tenant })
    for (const make of [event, flat])
      await sameAsNothing(
        '/v1/events',
        '/v1/events',
        { method: 'POST', body: make('bravo') },
        { method: 'POST', body: make('nobody') },
      )
    // An id that bravo used means nothing here; and an event may name people of another tenant without touching it.
    await operator.put('/v1/tenants/charlie')
    const made = await operator.post('/v1/keys', { name: 'x', tenant: 'charlie', scopes: tenantScopes })
    const charlie = operator.with(made.body.key)
    const { tenant: _, ...rest } = eventOf('bravo', 'x')
    const sent = { ...rest, id: `${secret}-event`, actor: { id: 'u', tenant: 'bravo' } }
    const mine = await charlie.post('/v1/events', sent)
    expect([mine.status, mine.body.tenant]).toEqual([201, 'charlie'])
    expect((await charlie.get(`/v1/events/${secret}-event`)).body.seq).toBe(mine.body.seq)
    expect(await bravoNow()).toEqual(before)
  },
  recordEvents: async () => {
    const before = await bravoNow()
    for (const prefer of ['return=minimal', 'return=representation']) {
      const { body } = await alpha.post('/v1/events/batch', [eventOf('bravo', 'x'), eventOf('nobody', 'x')], {
        headers: { prefer },
      })
      expect(body).toMatchObject({ accepted: 0, rejected: 2 })
      expect({ ...body.results[0], index: 1 }).toEqual(body.results[1])
    }
    expect(await bravoNow()).toEqual(before)
  },
  listEvents: async () => {
    await sameAsNothing('/v1/events?tenant=bravo', '/v1/events?tenant=nobody')
    await sameAsNothing(
      `/v1/events?tenant=bravo&after=${encode(bravo.cursor)}`,
      `/v1/events?tenant=nobody&after=${encode(bravo.cursor)}`,
    )
    for (const after of [bravo.cursor, bravo.filtered])
      for (const query of ['', `action=${secret}.*&`, 'order=asc&'])
        expect((await alpha.get(`/v1/events?${query}after=${encode(after)}`)).body.code).toBe('invalid_cursor')
  },
  getEvent: async () => {
    await sameAsNothing(`/v1/events/${secret}-1`, `/v1/events/${nothing.event}`)
    await sameAsNothing(`/v1/events/${secret}-1?tenant=bravo`, `/v1/events/${nothing.event}?tenant=nobody`)
    await sameAsNothing(`/v1/events/${own.event}?tenant=bravo`, `/v1/events/${own.event}?tenant=nobody`)
  },
  getEventProof: async () => {
    await sameAsNothing(`/v1/events/${secret}-1/proof`, `/v1/events/${nothing.event}/proof`)
    await sameAsNothing(`/v1/events/${secret}-1/proof?tenant=bravo`, `/v1/events/${nothing.event}/proof?tenant=nobody`)
  },
  putTenant: async () => {
    const before = await bravoNow()
    const ask = { method: 'PUT', body: { name: 'mine now', policy: { confidential: [] } } }
    await sameAsNothing('/v1/tenants/bravo', '/v1/tenants/nobody', ask)
    expect(await bravoNow()).toEqual(before)
  },
  getTenant: () => sameAsNothing('/v1/tenants/bravo', '/v1/tenants/nobody'),
  listTenants: async () => {
    for (const query of ['', '?after=a', '?limit=1000', '?after=bravn'])
      expect((await alpha.get(`/v1/tenants${query}`)).body).toMatchObject({ data: [{ id: 'alpha' }], next: null })
    hides((await alpha.get('/v1/tenants')).body)
  },
  createKey: async () => {
    const before = await bravoNow()
    const ask = (tenant: string) => ({ method: 'POST', body: { name: 'x', scopes: ['events:read'], tenant } })
    await sameAsNothing('/v1/keys', '/v1/keys', ask('bravo'), ask('nobody'))
    await sameAsNothing('/v1/keys', '/v1/keys', ask('_operator'), ask('nobody'))
    for (const scope of ['operator', 'tenants:create', 'tenants:write'])
      expect((await alpha.post('/v1/keys', { name: 'x', scopes: [scope] })).body.code).toBe('missing_scope')
    expect(await bravoNow()).toEqual(before)
  },
  listKeys: async () => {
    await sameAsNothing('/v1/keys?tenant=bravo', '/v1/keys?tenant=nobody')
    await sameAsNothing('/v1/keys?tenant=_operator', '/v1/keys?tenant=nobody')
    const { body } = await alpha.get('/v1/keys')
    expect(body.data.every(({ tenant }: { tenant: string }) => tenant === 'alpha')).toBe(true)
    hides(body)
  },
  revokeKey: async () => {
    const before = await bravoNow()
    await sameAsNothing(`/v1/keys/${bravo.keyId}`, `/v1/keys/${nothing.keyId}`, { method: 'DELETE' })
    const operatorKey = server.key.split('_')[2]
    await sameAsNothing(`/v1/keys/${operatorKey}`, `/v1/keys/${nothing.keyId}`, { method: 'DELETE' })
    expect(await bravoNow()).toEqual(before)
    expect((await operator.with(bravo.key).get('/v1/events')).status).toBe(200)
    // A key's first use of the day is recorded a moment later: not while the next test looks whether anything changed.
    await expect.poll(bravoNow).not.toEqual(before)
  },
  getTrail: trailCase(''),
  getCheckpoint: async () => {
    await trailCase('/checkpoint')()
    await sameAsNothing(
      `/v1/trails/alpha/checkpoint?trail=${bravo.trail}`,
      `/v1/trails/alpha/checkpoint?trail=${nothing.trail}`,
    )
  },
  getTile: async () => {
    for (const tile of ['0/000', '0/000.p/1', 'entries/000', 'entries/000.p/3', '1/000']) {
      await trailCase(`/tile/${tile}`)()
      await sameAsNothing(
        `/v1/trails/alpha/tile/${tile}?trail=${bravo.trail}`,
        `/v1/trails/alpha/tile/${tile}?trail=${nothing.trail}`,
      )
    }
  },
  getConsistencyProof: trailCase('/consistency?from=1'),
  getEntryProof: async () => {
    await trailCase('/proofs/0')()
    await sameAsNothing(
      `/v1/trails/alpha/proofs/0?trail=${bravo.trail}`,
      `/v1/trails/alpha/proofs/0?trail=${nothing.trail}`,
    )
  },
  getContent: trailCase('/content'),
  getPack: trailCase('/pack'),
  continuePack: async () => {
    const { body: bytes } = await alpha.get('/v1/trails/alpha/pack')
    const file = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) }
    const pack = await PackReader.open(sha256, file)
    for (const trail of [own.trail, bravo.trail]) {
      const manifest = encodeManifest(pack.manifest).replaceAll(own.trail, trail)
      const body = { manifest, checkpoint: (await pack.text('checkpoint')).replaceAll(own.trail, trail), skip: 0 }
      const ask = { method: 'POST', body }
      await sameAsNothing('/v1/trails/bravo/pack', '/v1/trails/nobody/pack', ask)
    }
  },
  verify: async () => {
    // Says what the receipt itself proves, and reads nothing: a trail that is there is no different from one that is not.
    const of = (trail: string) => own.receipt.replaceAll(own.trail, trail)
    const { body } = await alpha.post('/v1/verify', { receipts: [of(bravo.trail), of(nothing.trail)] })
    expect(body.receipts[0].outcome).not.toBe('signed')
    expect({ ...body.receipts[0], trail: '' }).toEqual({ ...body.receipts[1], trail: '' })
  },
  requestErasure: bodyCase('/v1/erasures', { subject, reason: 'x' }),
  requestRedaction: bodyCase('/v1/redactions', { seqs: [1], reason: 'x' }),
  requestRetention: bodyCase('/v1/retentions', { retention_days: 1, reason: 'x' }),
  requestTruncation: bodyCase('/v1/truncations', { size: 256, reason: 'x' }),
  requestDeletion: bodyCase('/v1/deletions', { reason: 'x' }),
  pruneTenant: bodyCase('/v1/prunes', {}),
  rotateKey: bodyCase('/v1/rotations', { key: 'subject' }),
  placeHold: bodyCase('/v1/holds', { reason: 'x' }),
  listErasures: actsCase('/v1/erasures'),
  listApprovals: actsCase('/v1/approvals'),
  getErasure: () => sameAsNothing(`/v1/erasures/${bravo.act}`, `/v1/erasures/${nothing.act}`),
  getApproval: () => sameAsNothing(`/v1/approvals/${bravo.act}`, `/v1/approvals/${nothing.act}`),
  decideApproval: async () => {
    for (const decision of ['approve', 'reject']) {
      const ask = { method: 'POST', body: { decision } }
      await sameAsNothing(`/v1/approvals/${bravo.act}`, `/v1/approvals/${nothing.act}`, ask)
    }
    expect((await operator.get(`/v1/approvals/${bravo.act}`)).body.state).toBe('waiting')
  },
  listHolds: async () => {
    await sameAsNothing('/v1/holds?tenant=bravo', '/v1/holds?tenant=nobody')
    const { body } = await alpha.get('/v1/holds')
    expect(body.data.map(({ id }: { id: string }) => id)).toEqual([own.hold])
  },
  requestRelease: async () => {
    const ask = { method: 'POST', body: { reason: 'x' } }
    await sameAsNothing(`/v1/holds/${bravo.hold}/release`, `/v1/holds/${nothing.hold}/release`, ask)
    expect((await operator.get('/v1/holds?tenant=bravo')).body.data[0].released_at).toBeNull()
  },
  getScrub: async () => {
    const answer = told(await alpha.get('/v1/scrub'))
    expect(answer.status).toBe(403)
    hides(answer)
  },
  acknowledgeFinding: () => {
    const ask = { method: 'POST', body: { reason: 'x' } }
    return sameAsNothing('/v1/scrub/findings/1/acknowledge', '/v1/scrub/findings/999/acknowledge', ask)
  },
  changeLogKey: async () => {
    const answer = told(await alpha.get('/v1/log-key', { method: 'POST', body: { action: 'rotate' } }))
    expect(answer.status).toBe(403)
    hides(answer)
  },
  getStatus: async () => {
    const answer = told(await alpha.get('/v1/status'))
    expect(answer.status).toBe(403)
    hides(answer)
  },
  listAnchoredCheckpoints: () => isPublic('/v1/registry/anchors'),
  getAnchoredCheckpoint: () => isPublic('/v1/registry/anchors/1/checkpoint'),
  getTimestampToken: () => isPublic('/v1/registry/anchors/1/token'),
  getRegistryCheckpoint: () => isPublic('/v1/registry/checkpoint'),
  getRegistryKeys: () => isPublic('/v1/registry/vkeys'),
  getRegistrySuccession: () => isPublic('/v1/registry/succession'),
  getRegistryTile: () => isPublic('/v1/registry/tile/entries/000.p/1'),
  getSlotProof: trailCase('/slot'),
  getVerifierPage: () => isPublic('/verify'),
  getVerifierProgram: () => isPublic('/verify/affidavit-verify.mjs'),
  health: () => isPublic('/healthz'),
  readiness: () => isPublic('/readyz'),
  metrics: () => isPublic('/metrics'),
  openapi: () => isPublic('/openapi.json'),
}

/** What anybody may read tells of no tenant. */
async function isPublic(path: string): Promise<void> {
  const answer = told(await alpha.get(path, { key: null }))
  for (const word of [secret, bravo.trail, own.trail, 'alphamark', bravo.keyId, own.keyId])
    expect(JSON.stringify(answer)).not.toContain(word)
}

test('every operation has its case', () => {
  expect(Object.keys(cases).toSorted()).toEqual(operator.operations.map(({ operationId }) => operationId).toSorted())
})

test.each(Object.keys(cases))('%s', (name) => cases[name]!())

/** For each parameter of a search a value that bravo's events have and alpha's do not, or null where there is none. */
const searches: Record<string, string | null> = {
  tenant: 'bravo',
  actor: `${secret}-actor`,
  action: `${secret}.done`,
  category: null,
  target: `${secret}-target`,
  team: `${secret}-team`,
  outcome: null,
  ip: '203.0.113.77',
  auth_method: null,
  request_id: `${secret}-request`,
  trace_id: `${secret}-trace`,
  session_id: `${secret}-session`,
  from: null,
  to: null,
  q: secret,
  order: null,
  limit: null,
  after: null,
  control: null,
  metadata: `metadata.${secret}key=${secret}-value`,
}

describe('a search of alpha', () => {
  test('knows every parameter there is', () => {
    const { parameters } = operator.operations.find(({ operationId }) => operationId === 'listEvents')!
    expect(Object.keys(searches).toSorted()).toEqual(parameters.map(({ name }) => name).toSorted())
  })

  const telling = Object.entries(searches).filter(([name, value]) => value !== null && name !== 'tenant')

  test.each(telling)('by %s finds nothing of bravo, and is no quicker or slower to say so', async (name, value) => {
    const query = name === 'metadata' ? value! : `${name}=${encode(value!)}`
    const answer = await alpha.get(`/v1/events?${query}`)
    if (name === 'session_id') return expect(answer.body.code).toBe('missing_scope')
    expect(answer.body).toEqual({ data: [], next: null })
    // The operator finds it, so the value is right.
    expect((await operator.get(`/v1/events?tenant=bravo&${query}`)).body.data.length).toBeGreaterThan(0)
    // Spelt otherwise, nobody has it.
    const other = query.replaceAll(secret, 'nobodysword').replaceAll('203.0.113.77', '203.0.113.78')
    expect((await alpha.get(`/v1/events?${other}`)).body).toEqual({ data: [], next: null })
  })

  test('by what all tenants have in common returns its own only', async () => {
    for (const query of [
      '',
      'category=billing',
      'outcome=denied',
      'auth_method=mtls',
      'control=true',
      'order=asc',
      'from=2020-01-01',
      'q=name',
    ])
      for (let after = ''; ; ) {
        const { body } = await alpha.get(`/v1/events?limit=2&${query}${after}`)
        for (const event of body.data) expect(event.tenant).toBe('alpha')
        hides(body)
        if (body.next === null) break
        after = `&after=${encode(body.next)}`
      }
  })

  test("with bravo's e-mail addresses, whole or in words, finds nothing", async () => {
    for (const text of [`${secret}@example.com`, `${secret}-target@example.com`])
      for (const name of ['actor', 'target', 'q']) {
        const { body } = await alpha.get(`/v1/events?${name}=${encode(text)}`)
        expect(body).toEqual({ data: [], next: null })
      }
  })
})

describe('time does not tell', () => {
  /** How often the first of two requests took longer, of many pairs in alternating order. Even odds: 0.5. */
  async function slowerShare(first: () => Promise<unknown>, second: () => Promise<unknown>): Promise<number> {
    const pairs = 120
    const timed = async (work: () => Promise<unknown>) => {
      const started = performance.now()
      await work()
      return performance.now() - started
    }
    let slower = 0
    for (let i = 0; i < pairs; i++) {
      const [one, two] =
        i % 2 === 0 ? [await timed(first), await timed(second)] : [await timed(second), await timed(first)].reverse()
      if (one! > two!) slower += 1
    }
    return slower / pairs
  }

  test.each([
    ['a tenant', '/v1/tenants/bravo', '/v1/tenants/nobody'],
    ['a trail', '/v1/trails/bravo', '/v1/trails/nobody'],
    ['events', '/v1/events?tenant=bravo', '/v1/events?tenant=nobody'],
    ['an event', `/v1/events/${secret}-1`, '/v1/events/no-such-event'],
    ['a search', `/v1/events?actor=${secret}-actor`, '/v1/events?actor=nobody-actor'],
  ])('whether there is %s', async (_name, theirs, nobodys) => {
    // As busy as it gets, so that bravo is in every cache.
    await operator.get('/v1/events?tenant=bravo')
    const share = await slowerShare(
      () => alpha.get(theirs),
      () => alpha.get(nobodys),
    )
    // An even coin falls outside of this once in a million times.
    expect(share).toBeGreaterThan(0.27)
    expect(share).toBeLessThan(0.73)
  })
})
