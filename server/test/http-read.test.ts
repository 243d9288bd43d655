// Reading over HTTP: pages, filters, polling, proofs, tiles, packs. All answers are held to the OpenAPI document by the
// client; proofs are held to the rules of the trail here.
import { createHash } from 'node:crypto'
import {
  commit,
  commitText,
  decodeBundle,
  decodeEntry,
  fromBase64,
  fromHex,
  leafHash,
  makePolicy,
  PackReader,
  parseCheckpoint,
  parseTlogProof,
  parseVkey,
  sha256,
  toHex,
  treeRoot,
  verifyConsistency,
  verifyEd25519,
  verifyInclusion,
  verifyNote,
  verifyPack,
  verifyTlogProof,
} from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from './database.ts'
import { Api } from './http-api.ts'
import { type StartedServer, startedServer } from './started-server.ts'

let database: TestDatabase
let server: StartedServer
let api: Api

beforeAll(async () => {
  database = await freshDatabase()
  server = await startedServer(database.url)
  api = await Api.of(server.url, server.key)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

interface Shown {
  id: string
  seq: number
  action: string
  metadata: { n: number }
}

const patience_ms = 60_000
const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Waits until so many entries of a trail are under its checkpoint. */
async function notarized(tenant: string, size: number): Promise<void> {
  for (const until = Date.now() + patience_ms; Date.now() < until; await rest(30))
    if ((await api.get(`/v1/trails/${tenant}`)).body.size >= size) return
  throw new Error(`the trail of ${tenant} does not get a checkpoint over ${size} entries`)
}

const numbered = (tenant: string, from: number, to: number, more: object = {}) =>
  Array.from({ length: to - from }, (_, i) => ({
    tenant,
    action: (from + i) % 2 === 0 ? 'file.read' : 'file.deleted',
    actor: { id: `u${(from + i) % 3}` },
    metadata: { n: from + i },
    ...more,
  }))

async function record(events: readonly object[]): Promise<{ seq: number; id: string }[]> {
  const { body } = await api.post('/v1/events/batch', events)
  expect(body.rejected).toBe(0)
  return body.results
}

describe('pages', () => {
  beforeAll(() => record(numbered('pages', 0, 250)))

  async function walk(query: string): Promise<number[][]> {
    const pages: number[][] = []
    for (let after = ''; ; ) {
      const { body } = await api.get(`/v1/events?tenant=pages&${query}${after}`)
      if (body.next === null && body.data.length === 0) return pages
      pages.push(body.data.map(({ metadata }: Shown) => metadata.n))
      if (body.next === null) return pages
      after = `&after=${encodeURIComponent(body.next)}`
    }
  }
  const upTo = (n: number) => Array.from({ length: n }, (_, i) => i)

  test('newest first, each event once', async () => {
    const pages = await walk('limit=100')
    expect(pages.map((page) => page.length)).toEqual([100, 100, 50])
    expect(pages.flat()).toEqual(upTo(250).reverse())
  })

  test('oldest first, each event once', async () => {
    expect((await walk('limit=70&order=asc')).flat()).toEqual(upTo(250))
  })

  test('of a filter', async () => {
    expect((await walk('limit=10&action=file.deleted')).flat()).toEqual(
      upTo(250)
        .filter((n) => n % 2 === 1)
        .reverse(),
    )
    expect((await walk('actor=u1&order=asc&limit=1000')).flat()).toEqual(upTo(250).filter((n) => n % 3 === 1))
    expect((await walk('metadata.n=17')).flat()).toEqual([17])
    expect((await walk('actor=u1&actor=u2&action=file.r*')).flat()).toEqual(
      upTo(250)
        .filter((n) => n % 3 !== 0 && n % 2 === 0)
        .reverse(),
    )
    expect((await walk('action=file.read,file.deleted&category=data_access')).flat()).toHaveLength(125)
  })

  test('a cursor goes with its tenant, filter and order; the size of the page may change', async () => {
    const { next } = (await api.get('/v1/events?tenant=pages&limit=10')).body
    const after = encodeURIComponent(next)
    expect((await api.get(`/v1/events?tenant=pages&limit=3&after=${after}`)).body.data[0].metadata.n).toBe(239)
    for (const query of ['tenant=pages&order=asc', 'tenant=pages&action=file.read', 'tenant=other-pages']) {
      await api.put('/v1/tenants/other-pages')
      expect((await api.get(`/v1/events?${query}&after=${after}`)).body.code).toBe('invalid_cursor')
    }
    for (const damaged of [
      next.slice(0, -2),
      `${next}AA`,
      next.replace(/.$/, next.endsWith('A') ? 'B' : 'A'),
      'x',
      '%00',
    ])
      expect((await api.get(`/v1/events?tenant=pages&after=${damaged.replaceAll('=', '%3D')}`)).body.code).toBe(
        'invalid_cursor',
      )
  })

  test.each([
    ['limit=0'],
    ['limit=1001'],
    ['limit=abc'],
    ['limit=1&limit=2'],
    ['order=up'],
    ['from=yesterday'],
    ['from=2026-01-02&to=2026-01-01'],
    ['outcome=maybe'],
    ['category=nothing'],
    ['ip=999.1.1.1'],
    ['q=%20'],
    ['actor='],
    ['action=a%20b'],
    ['control=yes'],
    ['tenant=a&tenant=b'],
    ['tenant=%2e%2e%2f'],
    ['colour=red'],
    ['metadata.=x'],
    ['metadata=x'],
    [`q=${'x'.repeat(600)}`],
    [Array.from({ length: 21 }, (_, i) => `actor=u${i}`).join('&')],
    ['__proto__=x'],
  ])('%s is refused', async (query) => {
    const { body } = await api.get(`/v1/events?${query}`)
    expect(body).toMatchObject({ status: 400, code: 'invalid_parameter' })
  })

  test('polling under four writers misses nothing and repeats nothing', async () => {
    const writers = 4
    const each = 60
    let writing = writers
    const written: string[] = []
    const write = async (writer: number) => {
      for (let i = 0; i < each; i += 3) {
        const results = await record(numbered('polled', writer * 1000 + i, writer * 1000 + i + 3))
        written.push(...results.map(({ id }) => id))
      }
      writing -= 1
    }
    await api.put('/v1/tenants/polled')
    const polled: Shown[] = []
    let after = ''
    const poll = async () => {
      const { body } = await api.get(`/v1/events?tenant=polled&order=asc&limit=7${after}`)
      polled.push(...body.data)
      if (body.next !== null) after = `&after=${encodeURIComponent(body.next)}`
      return body.data.length
    }
    const done = Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))
    while (writing > 0) await poll()
    await done
    while ((await poll()) > 0);
    expect(polled.map(({ id }) => id).toSorted()).toEqual(written.toSorted())
    expect(polled.every(({ seq }, i) => i === 0 || seq > polled[i - 1]!.seq)).toBe(true)
  })

  test('a large page of large events stays within bounds', async () => {
    const large = numbered('large', 0, 100).map((one) => ({
      ...one,
      metadata: { n: one.metadata.n, text: 'x'.repeat(200_000) },
    }))
    for (let i = 0; i < large.length; i += 25) await record(large.slice(i, i + 25))
    const seen: number[] = []
    const sizes: number[] = []
    for (let after = ''; ; ) {
      const { body } = await api.get(`/v1/events?tenant=large&limit=1000${after}`)
      seen.push(...body.data.map(({ metadata }: Shown) => metadata.n))
      sizes.push(body.data.length)
      if (body.next === null) break
      after = `&after=${encodeURIComponent(body.next)}`
    }
    expect(seen).toEqual(upTo(100).reverse())
    expect(sizes[0]).toBeLessThan(100)
  })
})

describe('one event', () => {
  test('that is not there, or has no id that could be one', async () => {
    expect((await api.get('/v1/events/nothing-here')).body.code).toBe('not_found')
    expect((await api.get('/v1/events/no%20id')).body.code).toBe('invalid_parameter')
    expect((await api.get('/v1/events/x?tenant=nobody')).body.code).toBe('not_found')
    expect((await api.get('/v1/events/x/proof')).body).toMatchObject({
      code: 'not_found',
      detail: 'The trail of _operator has no such event. Events of another tenant are found with ?tenant=….',
    })
    expect((await api.get('/v1/events/x/proof?tenant=pages')).body).toMatchObject({
      code: 'not_found',
      detail: 'The trail of pages has no such event.',
    })
  })

  test('shows a session only to the operator', async () => {
    const [event] = await record([{ ...numbered('levels', 0, 1)[0], context: { session_id: 's-1', ip: '192.0.2.1' } }])
    const path = `/v1/events/${event!.id}`
    expect((await api.get(`${path}?tenant=levels`)).body.context).toEqual({ session_id: 's-1', ip: '192.0.2.1' })
    const made = await api.post('/v1/keys', { name: 'Reader', tenant: 'levels', scopes: ['events:read'] })
    const reader = api.with(made.body.key)
    const { body } = await reader.get(path)
    expect(body.context).toEqual({ session_id: null, ip: '192.0.2.1' })
    expect(body.withheld).toContain('/context/session_id')
    expect((await reader.get('/v1/events?session_id=s-1')).body).toMatchObject({ status: 403, code: 'missing_scope' })
    expect((await api.get('/v1/events?tenant=levels&session_id=s-1')).body.data).toHaveLength(1)
  })

  test('shows confidential values only to keys that may read them', async () => {
    await api.put('/v1/tenants/discreet', { policy: { confidential: ['/changes', '/metadata/salary'] } })
    const [event] = await record([
      { ...numbered('discreet', 0, 1)[0], metadata: { n: 1, salary: 9 }, changes: [{ path: '/pay', after: 9 }] },
    ])
    const path = `/v1/events/${event!.id}`
    const keyWith = async (scopes: string[]) =>
      api.with((await api.post('/v1/keys', { name: 'Reader', tenant: 'discreet', scopes })).body.key)
    const { body } = await (await keyWith(['events:read'])).get(path)
    expect([body.changes, body.metadata.salary]).toEqual([null, null])
    expect(body.withheld.toSorted()).toEqual(['/changes', '/metadata/salary'])
    const open = await (await keyWith(['events:read', 'events:confidential'])).get(path)
    expect([open.body.changes, open.body.metadata.salary]).toEqual([[{ path: '/pay', after: 9 }], 9])
  })
})

describe('a proof', () => {
  test('of an event verifies: leaf, commitment, inclusion, signature', async () => {
    const sent = numbered('proven', 0, 300).map((one) => ({ ...one, actor: { id: 'u', email: 'u@example.com' } }))
    const results = await record(sent)
    await notarized('proven', 301)
    const { vkey } = (await api.get('/v1/trails/proven')).body
    for (const { id, seq } of [results[0]!, results[255]!, results[299]!]) {
      const { body } = await api.get(`/v1/events/${id}/proof?tenant=proven`)
      const leaf = leafHash(sha256, Buffer.from(body.entry, 'latin1'))
      expect([toHex(leaf), body.seq]).toEqual([body.leaf_hash, seq])
      const { text } = await verifyNote(verifyEd25519, body.checkpoint, [parseVkey(sha256, vkey)])
      const { size, root } = parseCheckpoint(text)
      expect(size).toBe(body.tree_size)
      expect(verifyInclusion(sha256, leaf, seq, size, body.inclusion.map(fromHex), root)).toBe(true)
      const entry = decodeEntry(Buffer.from(body.entry, 'latin1'))
      const { facts, personal } = body.content
      expect(commitText(sha256, 'facts', fromBase64(facts.salt)!, facts.content)).toBe(entry.facts)
      const line = commit(sha256, 'personal', fromBase64(personal[0].salt)!, personal[0].content)
      expect(Buffer.from(line).toString('base64')).toBe(entry.personal[0]!.commitment)
      expect(personal[0].content).toContain('u@example.com')
    }
  })

  test('comes with the next checkpoint: until then 409 says when to ask again', async () => {
    const [event] = await record(numbered('soon', 0, 1))
    const path = `/v1/events/${event!.id}/proof?tenant=soon`
    let answer = await api.get(path)
    for (; answer.status === 409; answer = await api.get(path)) {
      expect(answer.body.code).toBe('not_notarized')
      expect(answer.headers.get('retry-after')).toBe('1')
      await rest(20)
    }
    expect(answer.status).toBe(200)
  })
})

describe('a trail', () => {
  const path = '/v1/trails/tiled'
  let entries: Buffer[]

  beforeAll(async () => {
    for (let n = 0; n < 600; n += 200) await record(numbered('tiled', n, n + 200))
    await notarized('tiled', 601)
  })

  test('its bundles are its tree: root and checkpoint are computed from them', async () => {
    const { body: trail } = await api.get(path)
    const { body: note } = await api.get(`${path}/checkpoint`)
    const { text } = await verifyNote(verifyEd25519, note, [parseVkey(sha256, trail.vkey)])
    const { size, root, origin } = parseCheckpoint(text)
    expect([size, origin]).toEqual([601, trail.origin])
    const bundles = await Promise.all(
      ['entries/000', 'entries/001', 'entries/002.p/89'].map((name) => api.get(`${path}/tile/${name}`)),
    )
    entries = bundles.flatMap(({ body }) => decodeBundle(body)!).map((entry) => Buffer.from(entry))
    const leaves = entries.map((entry) => leafHash(sha256, entry))
    expect(toHex(treeRoot(sha256, leaves))).toBe(toHex(root))
    const tiles = await Promise.all(['0/000', '0/001', '0/002.p/89'].map((name) => api.get(`${path}/tile/${name}`)))
    expect(Buffer.concat(tiles.map(({ body }) => body)).equals(Buffer.concat(leaves))).toBe(true)
    expect(bundles[0]!.headers.get('cache-control')).toBe('private, max-age=31536000, immutable')
  })

  test('consistency from any size to any later one', async () => {
    const leaves = entries.map((entry) => leafHash(sha256, entry))
    for (const [from, to] of [
      [1, 601],
      [256, 600],
      [255, 257],
      [512, 512],
      [300, 601],
    ] as const) {
      const { body } = await api.get(`${path}/consistency?from=${from}&to=${to}`)
      const root = (size: number) => treeRoot(sha256, leaves.slice(0, size))
      expect(verifyConsistency(sha256, from, to, body.proof.map(fromHex), root(from), root(to))).toBe(true)
    }
    for (const query of ['from=0', 'from=3&to=2', 'to=9999999', 'from=x', 'from=01'])
      expect((await api.get(`${path}/consistency?${query}`)).body.code).toBe('invalid_parameter')
  })

  test('the proof of any entry as a tlog-proof file, of an event under its id, too', async () => {
    const { body: trail } = await api.get(path)
    const policy = makePolicy(sha256, { logs: [trail.vkey], witnesses: [] })
    for (const seq of [0, 255, 256, 600]) {
      const { body } = await api.get(`${path}/proofs/${seq}`)
      const proof = parseTlogProof(body)
      expect(proof.index).toBe(seq)
      const verdict = await verifyTlogProof(sha256, verifyEd25519, proof, leafHash(sha256, entries[seq]!), policy)
      expect(verdict.outcome).toBe('held')
    }
    const { body: listed } = await api.get('/v1/events?tenant=tiled&limit=1')
    const { id, seq } = listed.data[0]
    const { body, headers } = await api.get(`/v1/events/${id}/proof?tenant=tiled&format=tlog`)
    expect(body).toEqual((await api.get(`${path}/proofs/${seq}`)).body)
    expect(headers.get('content-disposition')).toBe(`attachment; filename="${seq}.tlog-proof"`)
    expect((await api.get(`${path}/proofs/601`)).body.code).toBe('not_notarized')
    expect((await api.get(`${path}/proofs/0?trail=${'0'.repeat(32)}`)).body.code).toBe('not_found')
    expect((await api.get(`${path}/proofs/01`)).body.code).toBe('invalid_parameter')
    expect((await api.get(`/v1/events/${id}/proof?tenant=tiled&format=xml`)).body.code).toBe('invalid_parameter')
  })

  test.each(['0/001.p/256', '0/999', 'entries/000.p/0', '9/000', '0/x00', '0/0', '', '0/000.p/1/2'])(
    'there is no tile %j',
    async (name) => {
      expect((await api.get(`${path}/tile/${name}`)).status).toBeOneOf([404, 400])
    },
  )

  test('content opens the commitments of its entries', async () => {
    const { body } = await api.get(`${path}/content?from=1&to=4`)
    const lines = body
      .toString()
      .trimEnd()
      .split('\n')
      .map((line: string) => JSON.parse(line))
    expect(lines.map(({ seq }: { seq: number }) => seq)).toEqual([1, 2, 3])
    for (const { seq, facts } of lines)
      expect(commitText(sha256, 'facts', fromBase64(facts.salt)!, facts.content)).toBe(decodeEntry(entries[seq]!).facts)
    for (const query of ['from=5&to=5', 'to=602', 'from=-1', 'to=1e3'])
      expect((await api.get(`${path}/content?${query}`)).body.code).toBe('invalid_parameter')
  })

  test('a pack holds, on its own and for the server; a changed one does not', async () => {
    const nodeHash = (data: Uint8Array) => createHash('sha256').update(data).digest()
    const { body: bytes, headers } = await api.get(`${path}/pack?from=100&to=400`)
    expect(headers.get('content-disposition')).toBe('attachment; filename="tiled-100-400.affidavit.zip"')
    const { vkey } = (await api.get(path)).body
    const file = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) }
    const verification = await verifyPack(await PackReader.open(nodeHash, file), {
      hash: nodeHash,
      verify: verifyEd25519,
      vkeys: [parseVkey(sha256, vkey)],
    })
    expect(verification).toMatchObject({ outcome: 'held', findings: [], assurance: 'anchored' })
    const zip = { headers: { 'content-type': 'application/zip' } }
    expect((await api.post('/v1/verify', bytes, zip)).body).toMatchObject({ outcome: 'held', findings: [] })
    const { status, body } = await api.post(
      '/v1/verify',
      Buffer.concat([bytes.subarray(0, -30), Buffer.alloc(30)]),
      zip,
    )
    expect([status, body.code]).toEqual([400, 'invalid_request'])
    for (const junk of [Buffer.alloc(0), Buffer.from('PK'), Buffer.alloc(100_000, 0x50)])
      expect((await api.post('/v1/verify', junk, zip)).body.code).toBe('invalid_request')
  })

  test('receipts are recognised, forged ones are not', async () => {
    const { receipt } = (await api.post('/v1/events', numbered('tiled', 0, 1)[0])).body
    const forged = receipt.replace(/entries \d+/, 'entries 0')
    const foreign = receipt.replace(/trail [0-9a-f]{32}/, `trail ${'0'.repeat(32)}`)
    const { body } = await api.post('/v1/verify', { receipts: [receipt, forged, foreign, 'nonsense'] })
    expect(body.receipts[0]).toMatchObject({ outcome: 'signed' })
    for (const other of body.receipts.slice(1)) expect(other.outcome).not.toBe('signed')
    expect((await api.post('/v1/verify', { receipts: [] })).body).toMatchObject({ status: 422, pointer: '/receipts' })
    expect((await api.post('/v1/verify', {})).body).toMatchObject({ code: 'missing_field', pointer: '/receipts' })
  })

  test('of a tenant that is not there', async () => {
    for (const part of ['', '/checkpoint', '/tile/0/000', '/consistency', '/content', '/pack'])
      expect([part, (await api.get(`/v1/trails/nobody${part}`)).body.code]).toEqual([part, 'not_found'])
  })
})
