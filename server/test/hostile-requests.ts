// Hostile requests without end, the same for the same seed: valid ones with something wrong in them, and nonsense.
import { gzipSync } from 'node:zlib'

export interface HostileRequest {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: Buffer | undefined
}

export interface Victim {
  readonly operatorKey: string
  /** Keys bound to a tenant, one with few scopes among them. */
  readonly keys: readonly string[]
  readonly tenants: readonly string[]
  /** Cursors, event ids, key ids of any tenant. */
  readonly tokens: readonly string[]
  /** Ids of keys that are there to be revoked. */
  readonly doomed: readonly string[]
}

/** mulberry32: small, seeded, good enough to choose with. */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  below(n: number): number {
    return Math.floor(this.next() * n)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
}

const structured = {
  id: 'evt',
  tenant: 'h0',
  action: 'user.role.updated',
  category: 'authorization',
  occurred_at: '2026-03-10T18:33:14.123Z',
  actor: {
    type: 'user',
    id: 'u1',
    name: 'Sarah Johnson',
    email: 'sarah@example.com',
    role: 'admin',
    team: 'finance',
    internal: false,
    on_behalf_of: { id: 'u2', impersonator: { id: 'u3', name: 'Mark' } },
    tenant: 'h1',
  },
  targets: [{ type: 'user', id: 'u4', name: 'Ann', email: 'ann@example.com', tenant: 'h1' }, { type: 'file' }],
  outcome: 'success',
  reason: 'because',
  context: {
    ip: '203.0.113.9',
    user_agent: 'Mozilla/5.0',
    request_id: 'r-1',
    trace_id: 't-1',
    session_id: 's-1',
    location: 'Berlin',
    auth_method: 'sso',
    api_key: { id: 'k', name: 'Nightly' },
  },
  changes: [{ path: '/role', before: 'Member', after: { role: ['Admin'] } }],
  metadata: { ticket: 'OPS-7', nested: { list: [1, 2, { a: null }] }, mail: 'x@example.com' },
  source: { id: 'api-7', boot: 'b', seq: 1041, system: 'stripe' },
}
const flat = {
  event_id: 'evt',
  tenant_id: 'h0',
  timestamp: '2026-03-10T18:33:14.123456',
  action: 'update',
  event_type: 'authorization_failure',
  actor_id: 'u1',
  user_id: 'u2',
  actor_type: 'human',
  actor_email: 'sarah@example.com',
  target_type: 'user',
  target_id: 'u4',
  resource_id: 'u5',
  result: 'failed',
  ip_address: '2001:db8::7',
  changes_json: '{"role":{"before":"Member","after":"Admin"}}',
  metadata_json: { ticket: 'OPS-7' },
  metadata: { ip: '198.51.100.4' },
  rows: 18_230,
}
const keyBody = {
  name: 'Hostile',
  tenant: 'h0',
  scopes: ['verify'],
  internal: false,
  expires_at: '2030-01-01T00:00:00Z',
}
const tenantBody = {
  name: 'Hostile',
  policy: { personal: ['/reason'], confidential: ['/changes'], retention_days: 30 },
}

/** Values that break what was not prepared for them. */
const values: readonly (() => unknown)[] = [
  () => null,
  () => '',
  () => ' ',
  () => 'x'.repeat(70_000),
  () => 'ä'.repeat(257),
  () => '👩🏽‍🚀'.repeat(70),
  () => '\u0000',
  () => '\u202e\u2028\ufeff',
  () => '../../etc/passwd',
  () => "' or 1=1; --",
  () => '{"$personal":0}',
  () => '%00%n%s{{7*7}}',
  () => -1,
  () => 0.1,
  () => 2 ** 53 - 1,
  () => -0,
  () => 1e308,
  () => true,
  () => [],
  () => {},
  () => ({}),
  () => [[[[[[[[[[]]]]]]]]]],
  () => Array(200).fill('x'),
  () => Array(101).fill({ path: '/a', after: 1 }),
  () => Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`k${i}`, i])),
  () => ({ $personal: 0 }),
  () => ({ $confidential: true, toString: 1 }),
  () => JSON.parse('{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}'),
  () => ({ toJSON: 'x', valueOf: 'y', length: 1e9 }),
  () => '1969-12-31T23:59:59Z',
  () => '+275760-09-13T00:00:00.000Z',
  () => '9999-12-31T23:59:59.999Z',
  () => '2026-02-30T25:61:61Z',
  () => '::ffff:999.1.1.1',
  () => 'fe80::1%eth0',
  () => 'affidavit.key.created',
  () => 'nobody',
  () => '_operator',
]

/** Pieces of text that turn JSON into something else. */
const pieces = [
  '"\\ud800"',
  '9007199254740993',
  '1e999',
  '-',
  '01',
  '"\\u0000"',
  '"\\x"',
  '"a":1,"a":2',
  '"__proto__":{}',
  '[[[[[[[[',
  '}}}}',
  '\u0000',
  'NaN',
  '/*',
  '\n',
  '"',
  ',',
  '{',
  '\ufeff',
]

const depths = [60, 64, 65, 1000, 50_000]
const junk = [
  '%00',
  '%2e%2e',
  '..',
  '%2f',
  '%5c',
  '%zz',
  '%ff',
  'x'.repeat(3000),
  '',
  ' ',
  '*',
  '__proto__',
  '%F0%9F%98%80',
  ';a=b',
  '{id}',
]

export class Hostility {
  readonly #dice: Dice
  readonly #victim: Victim
  #ids = 0

  constructor(seed: number, victim: Victim) {
    this.#dice = new Dice(seed)
    this.#victim = victim
  }

  next(): HostileRequest {
    const dice = this.#dice
    const roll = dice.next()
    if (roll < 0.36) return this.#one()
    if (roll < 0.5) return this.#batch()
    if (roll < 0.72) return this.#search()
    if (roll < 0.84) return this.#address()
    if (roll < 0.9) return this.#json('POST', '/v1/keys', keyBody)
    if (roll < 0.945) return this.#json('PUT', `/v1/tenants/${dice.of([...this.#victim.tenants, ...junk])}`, tenantBody)
    if (roll < 0.95) return this.#sent('DELETE', `/v1/keys/${dice.of(this.#victim.doomed)}`, undefined)
    return this.#verify()
  }

  #one(): HostileRequest {
    return this.#json('POST', '/v1/events', this.#event())
  }

  #event(): object {
    const dice = this.#dice
    this.#ids += 1
    const id = dice.chance(0.1) ? 'again' : `h-${this.#ids}`
    const tenant = dice.of(this.#victim.tenants)
    return dice.chance(0.6) ? { ...structured, id, tenant } : { ...flat, event_id: id, tenant_id: tenant }
  }

  #json(method: string, path: string, body: object): HostileRequest {
    const dice = this.#dice
    let mutated: unknown = body
    for (let n = dice.below(3); n > 0; n--) mutated = this.#mutated(mutated)
    let text = JSON.stringify(mutated) ?? ''
    if (dice.chance(0.3)) text = this.#broken(text)
    let bytes: Buffer = Buffer.from(text)
    if (dice.chance(0.05)) bytes = this.#flipped(bytes)
    return this.#sent(method, path, bytes)
  }

  /** A copy with one member replaced, removed, added or put under another name. */
  #mutated(value: unknown): unknown {
    const dice = this.#dice
    if (typeof value !== 'object' || value === null || dice.chance(0.15)) return dice.of(values)()
    // Not spread: a mutation before this one may have taken the array's prototype away.
    const copy = (Array.isArray(value) ? Array.prototype.slice.call(value) : { ...value }) as Record<string, unknown>
    const names = Object.keys(copy)
    const name = names.length === 0 ? 'x' : dice.of(names)
    const roll = dice.next()
    if (roll < 0.7) copy[name] = this.#mutated(copy[name])
    else if (roll < 0.8) delete copy[name]
    else copy[dice.of([...junk, name.toUpperCase(), `${name}/~`])] = dice.of(values)()
    return copy
  }

  #broken(text: string): string {
    const dice = this.#dice
    const at = dice.below(text.length + 1)
    const roll = dice.next()
    if (roll < 0.3) return text.slice(0, at)
    if (roll < 0.8) return text.slice(0, at) + dice.of(pieces) + text.slice(at + dice.below(4))
    if (roll < 0.9) return text.replace(/:"[^"]*"/, `:${'['.repeat(dice.of(depths))}`)
    const depth = dice.of(depths)
    return text.replace(/:"[^"]*"/, `:${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`)
  }

  /** Bytes that are no UTF-8 any more, most likely. */
  #flipped(bytes: Buffer): Buffer {
    const copy = Buffer.from(bytes)
    for (let n = 1 + this.#dice.below(3); n > 0 && copy.length > 0; n--)
      copy[this.#dice.below(copy.length)] = this.#dice.below(256)
    return copy
  }

  #batch(): HostileRequest {
    const dice = this.#dice
    const events = Array.from({ length: dice.below(8) }, () => {
      const event = dice.chance(0.5) ? this.#event() : this.#mutated(this.#event())
      const text = JSON.stringify(event) ?? ''
      return dice.chance(0.15) ? this.#broken(text) : text
    })
    let body: Buffer = Buffer.from(
      dice.of([
        () => events.join('\n'),
        () => `[${events.join()}]`,
        () => `{"events":[${events.join()}]}`,
        () => events.join(''),
      ])(),
    )
    if (dice.chance(0.05)) body = this.#flipped(body)
    const headers: Record<string, string> = { 'content-type': dice.of(['application/x-ndjson', 'application/json']) }
    if (dice.chance(0.3)) {
      headers['content-encoding'] = dice.of(['gzip', 'x-gzip', 'GZIP'])
      body = dice.chance(0.02) ? bomb() : gzipSync(body, { level: 1 })
      if (dice.chance(0.2)) body = dice.chance(0.5) ? this.#flipped(body) : body.subarray(0, dice.below(body.length))
    }
    if (dice.chance(0.3))
      headers.prefer = dice.of(['return=minimal', 'return=representation', ';;,=', 'x'.repeat(2000)])
    return this.#sent('POST', '/v1/events/batch', body, headers)
  }

  #search(): HostileRequest {
    const dice = this.#dice
    const { tenants, tokens } = this.#victim
    const given = Array.from({ length: dice.below(5) }, () => {
      const name = dice.of([
        'tenant',
        'actor',
        'action',
        'category',
        'target',
        'team',
        'outcome',
        'ip',
        'auth_method',
        'request_id',
        'trace_id',
        'session_id',
        'from',
        'to',
        'q',
        'order',
        'limit',
        'after',
        'control',
        'metadata.ticket',
        'metadata.__proto__',
        'metadata.',
        'colour',
      ])
      const value = dice.of([
        () => dice.of(tenants),
        () => dice.of(tokens),
        () => dice.of(junk),
        () => encodeURIComponent((JSON.stringify(dice.of(values)()) ?? 'undefined').slice(0, 2000)),
        () => dice.of(['user.*', '*', 'success,denied', '203.0.113.9', 'asc', '1000', '2026-03-10', 'sarah johnson']),
      ])()
      return `${dice.chance(0.03) ? dice.of(junk) : name}=${value}`
    })
    // Hostile is what is asked; that many events come is neither that nor cheap.
    if (dice.chance(0.9) && !given.some((one) => one.startsWith('limit='))) given.push(`limit=${1 + dice.below(4)}`)
    const separator = dice.chance(0.95) ? '&' : dice.of([';', '&&&', '=', '?'])
    return this.#sent('GET', `/v1/events?${given.join(separator)}`, undefined)
  }

  #address(): HostileRequest {
    const dice = this.#dice
    const { tenants, tokens } = this.#victim
    const part = () => dice.of([...tenants, ...tokens, ...junk])
    const path = dice.of([
      () => `/v1/events/${part()}`,
      () => `/v1/events/${part()}/proof?tenant=${part()}`,
      () => `/v1/trails/${part()}`,
      () => `/v1/trails/${dice.of(tenants)}/checkpoint?trail=${part()}`,
      () =>
        `/v1/trails/${dice.of(tenants)}/tile/${dice.of(['0', '1', '63', 'entries', '-1', '9e9'])}/${dice.of(['000', 'x001/000', '000.p/1', '000.p/256', '99999999', part()])}`,
      () =>
        `/v1/trails/${dice.of(tenants)}/consistency?from=${dice.of(['0', '1', '3', part()])}&to=${dice.of(['2', '9007199254740993', part()])}`,
      () =>
        `/v1/trails/${dice.of(tenants)}/content?from=${dice.of(['0', '1', part()])}&to=${dice.of(['1', '2', '5', part()])}`,
      () => `/v1/trails/${dice.of(tenants)}/pack?from=${dice.of(['0', '1', '-1'])}&to=${dice.of(['1', '2', part()])}`,
      () => this.#proofAddress(part),
      () => `/v1/tenants/${part()}`,
      () => `/v1/tenants?limit=${dice.of(['1', '1000', '0', part()])}&after=${part()}`,
      () => `/v1/keys?tenant=${part()}`,
      () => `/v1/keys/${part()}`,
      () => `/${part()}/${part()}`,
      () => dice.of(['/healthz', '/readyz', '/openapi.json', '/v1/status', '/v1/scrub', '/verify']),
    ])()
    return this.#sent(
      dice.of(['GET', 'GET', 'GET', 'HEAD', 'DELETE', 'POST', 'PUT', 'PATCH', 'OPTIONS']),
      path,
      undefined,
    )
  }

  #proofAddress(part: () => string): string {
    const dice = this.#dice
    const { tenants } = this.#victim
    return dice.of([
      () => `/v1/events/${part()}/proof?tenant=${dice.of(tenants)}&format=${dice.of(['tlog', 'json', part()])}`,
      () => `/v1/trails/${dice.of(tenants)}/proofs/${dice.of(['0', '1', '-0', '9007199254740993', part()])}`,
      () => `/v1/trails/${dice.of(tenants)}/slot?epoch=${dice.of(['latest', '1', '0', '99999999999', part()])}`,
      () => `/v1/trails/${dice.of(tenants)}/pack?${dice.of(['query', 'event', 'from_time', 'trail'])}=${part()}`,
      () =>
        `/v1/registry/${dice.of(['checkpoint', 'vkeys', 'succession', 'tile/entries/000.p/1', `tile/0/${part()}`, part()])}`,
      () => `/v1/registry/anchors?${dice.of(['epoch', 'kind', 'after', 'limit'])}=${part()}`,
      () => `/v1/registry/anchors/${part()}/${dice.of(['checkpoint', 'token'])}`,
      () => `/v1/${dice.of(['holds', 'erasures', 'approvals'])}?${dice.of(['tenant', 'state', 'kind'])}=${part()}`,
      () => `/v1/${dice.of(['holds', 'erasures', 'approvals'])}/${part()}`,
    ])()
  }

  #verify(): HostileRequest {
    const dice = this.#dice
    if (dice.chance(0.1))
      return this.#sent('POST', '/v1/verify', this.#flipped(Buffer.alloc(200, 'PK')), {
        'content-type': 'application/zip',
      })
    const note = `affidavit/1 receipt\ntrail ${'0'.repeat(32)}\nentries 0 ${dice.of(['0', '-1', '9e9'])}\nleaf ${dice.of(['', 'AAAA', 'x'.repeat(44)])}\nsealed now\n\n— x y\n`
    return this.#json('POST', '/v1/verify', { receipts: [note, dice.of(junk)] })
  }

  #sent(method: string, path: string, body: Buffer | undefined, more: Record<string, string> = {}): HostileRequest {
    const dice = this.#dice
    const { operatorKey, keys } = this.#victim
    const headers: Record<string, string> = {
      authorization: `Bearer ${dice.chance(0.6) ? operatorKey : dice.of(keys)}`,
    }
    if (body !== undefined) headers['content-type'] = 'application/json'
    Object.assign(headers, more)
    if (dice.chance(0.06))
      headers.authorization = dice.of([
        '',
        'Bearer',
        `Bearer ${operatorKey.slice(0, -1)}`,
        `Bearer ${'x'.repeat(4000)}`,
        'Basic eDp5',
        `bearer  ${operatorKey}`,
        `Bearer aff_live_${'A'.repeat(12)}_${'B'.repeat(43)}`,
      ])
    if (dice.chance(0.04))
      headers['content-type'] = dice.of(['', 'text/plain', 'application/json; charset=utf-16', ';', 'a/b'.repeat(200)])
    if (dice.chance(0.03)) headers['content-encoding'] = dice.of(['br', 'gzip', 'gzip, gzip', '\t', 'x'.repeat(500)])
    if (dice.chance(0.05))
      headers['idempotency-key'] = dice.of(['again', '', 'a b', 'x'.repeat(65), 'h:1', '__proto__'])
    if (dice.chance(0.05))
      headers['affidavit-personal'] = dice.of([
        '%2Fmetadata%2F*',
        '%2F*',
        '%',
        ',,,',
        '%2Fid',
        `${'%2Freason,'.repeat(60)}`,
        '%2Fchanges',
      ])
    if (dice.chance(0.02)) headers.expect = dice.of(['100-continue', 'nonsense'])
    return { method, path: path.replace(/[^\x21-\x7e]/g, (c) => encodeURIComponent(c)), headers, body }
  }
}

let inflating: Buffer | undefined
/** 60 MB of nothing in 60 KB. */
function bomb(): Buffer {
  inflating ??= gzipSync(Buffer.alloc(60 * 1024 * 1024, 0x20))
  return inflating
}
