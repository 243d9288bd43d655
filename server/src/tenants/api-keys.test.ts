import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import type { Queryable } from '../store/database.ts'
import { makeKey, parseKey } from './api-key-format.ts'
import { ApiKeys, type ApiKeysOptions, type FirstUse, most_stale_ms } from './api-keys.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await freshDatabase()
})
afterAll(() => database.drop())

let now_ms: number
let open: ApiKeys[] = []
beforeEach(async () => {
  await Promise.all(open.map((keys) => keys.close()))
  open = []
  now_ms = Date.parse('2026-03-10T12:00:00Z')
})
afterAll(() => Promise.all(open.map((keys) => keys.close().catch(() => {}))))

function newKeys(options: Partial<ApiKeysOptions> = {}): ApiKeys {
  const keys = new ApiKeys({ keeper: database.store.pool('keeper'), env: 'test', now: () => now_ms, ...options })
  open.push(keys)
  return keys
}
const wanted = { name: 'Nightly Data Sync', tenant: 1, scopes: ['events:write'] }
const bearer = (key: string) => `Bearer ${key}`
const reason = async (keys: ApiKeys, header: string | undefined) => {
  const result = await keys.authenticate(header)
  return result.ok ? 'ok' : result.reason
}

/** Counts statements. */
function counted(): { keeper: Queryable; count: () => number } {
  let n = 0
  const pool = database.store.pool('keeper')
  return {
    keeper: {
      query: async (text, values) => {
        n++
        return pool.query(text, values)
      },
    },
    count: () => n,
  }
}

describe('the text of a key', () => {
  test('has its four parts, and any changed character is refused without a look-up', () => {
    const { text, id, secretHash } = makeKey('live')
    expect(text).toMatch(/^aff_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}$/)
    expect(parseKey(text)).toEqual({ env: 'live', id, secretHash })
    for (let at = 4; at < text.length; at++) {
      const changed = text.slice(0, at) + (text[at] === 'x' ? 'y' : 'x') + text.slice(at + 1)
      expect(parseKey(changed)).toBeUndefined()
    }
  })

  test('no two are alike', () => {
    expect(new Set(Array.from({ length: 500 }, () => makeKey('test').id)).size).toBe(500)
  })
})

describe('authenticate', () => {
  test('recognises a key, and says who it is', async () => {
    const keys = newKeys()
    const { key, record } = await keys.create({ ...wanted, internal: true })
    const result = await keys.authenticate(bearer(key))
    expect(result).toEqual({
      ok: true,
      principal: {
        keyId: record.id,
        name: wanted.name,
        tenant: 1,
        scopes: new Set(['events:write']),
        internal: true,
        expiresAt: null,
      },
    })
    expect(await keys.authenticate(`bearer  ${key}`)).toEqual(result)
  })

  test('refuses with a reason, and a wrong secret like an unknown key', async () => {
    const keys = newKeys()
    const { key, record } = await keys.create(wanted)
    expect(await reason(keys, undefined)).toBe('missing')
    for (const header of ['x', `Basic ${key}`, `Bearer ${key}x`, bearer(key.slice(0, -1)), `Bearer ${'x'.repeat(1e5)}`])
      expect(await reason(keys, header)).toBe('malformed')
    expect(await reason(keys, bearer(makeKey('test').text))).toBe('unknown')
    expect(await reason(keys, bearer(makeKey('live').text))).toBe('unknown')
    // A right id with another secret, checksum and all.
    await database.superuser.query(`update keeper.api_keys set secret_hash = sha256('another') where id = $1`, [
      record.id,
    ])
    expect(await reason(newKeys(), bearer(key))).toBe('unknown')
  })

  test('a revocation holds at once here and within 10 s elsewhere; another tenant’s keys cannot be revoked', async () => {
    const [here, there] = [newKeys(), newKeys()]
    const { key, record } = await here.create(wanted)
    expect([await reason(here, bearer(key)), await reason(there, bearer(key))]).toEqual(['ok', 'ok'])
    expect(await here.revoke(record.id, 2)).toBeUndefined()
    expect(await reason(newKeys(), bearer(key))).toBe('ok')
    expect((await here.revoke(record.id, 1))!.outcome).toBe('revoked')
    expect((await here.revoke(record.id, 'any'))!.outcome).toBe('already')
    expect(await here.revoke('nobody', 'any')).toBeUndefined()
    expect(await reason(here, bearer(key))).toBe('revoked')
    now_ms += most_stale_ms
    expect(await reason(there, bearer(key))).toBe('revoked')
  })

  test('an expired key is refused at its moment, cached or not', async () => {
    const keys = newKeys()
    const { key } = await keys.create({ ...wanted, expiresAt: now_ms + 1_000 })
    expect(await reason(keys, bearer(key))).toBe('ok')
    now_ms += 1_000
    expect(await reason(keys, bearer(key))).toBe('expired')
    expect(await reason(newKeys(), bearer(key))).toBe('expired')
  })

  test('known keys need no query, unknown ones share them', async () => {
    const { keeper, count } = counted()
    const keys = newKeys({ keeper })
    const { key } = await newKeys().create(wanted)
    await keys.authenticate(bearer(key))
    for (let n = 0; n < 50; n++) await keys.authenticate(bearer(key))
    expect(count()).toBe(1)
    const guesses = Array.from({ length: 400 }, () => bearer(makeKey('test').text))
    expect(new Set(await Promise.all(guesses.map((guess) => reason(keys, guess))))).toEqual(new Set(['unknown']))
    expect(count()).toBeLessThanOrEqual(3)
    await Promise.all(guesses.map((guess) => reason(keys, guess)))
    expect(count()).toBeLessThanOrEqual(3)
  })

  test('too many look-ups at once are turned away, and a failed one is an error, not a refusal', async () => {
    const gate = Promise.withResolvers<never>()
    const keys = newKeys({ keeper: { query: () => gate.promise } })
    const guesses = Array.from({ length: 5_001 }, () =>
      reason(keys, bearer(makeKey('test').text)).catch((error) => error.message),
    )
    gate.reject(new Error('down'))
    const answers = await Promise.all(guesses)
    expect(answers.at(-1)).toBe('busy')
    expect(answers[0]).toBe('down')
  })
})

describe('create', () => {
  test('stores the hash of the secret only', async () => {
    const { key } = await newKeys().create(wanted)
    const { rows } = await database.superuser.query('select row_to_json(k)::text as text from keeper.api_keys k')
    const secret = key.split('_')[3]!.slice(0, 32)
    expect(rows.map(({ text }) => text).join()).not.toContain(secret)
  })

  test('refuses names, scopes and expiries that make no sense', async () => {
    const keys = newKeys()
    for (const name of ['', '  ', 'x'.repeat(129), 'a\u0000', '\ud800'])
      await expect(keys.create({ ...wanted, name })).rejects.toMatchObject({ code: 'key_name_invalid' })
    for (const scopes of [[], ['events:everything'], ['events:write', 'toString'], ['operator'], ['tenants:create']])
      await expect(keys.create({ ...wanted, scopes })).rejects.toMatchObject({ code: 'key_scopes_invalid' })
    for (const expiresAt of [now_ms, Number.NaN, 1e18])
      await expect(keys.create({ ...wanted, expiresAt })).rejects.toMatchObject({ code: 'key_expiry_invalid' })
    const operator = await keys.create({ ...wanted, tenant: null, scopes: ['operator', 'tenants:create'] })
    expect(operator.record).toMatchObject({ tenant: null, scopes: ['operator', 'tenants:create'] })
  })

  test('list shows a tenant’s own keys, the operator’s, or all', async () => {
    const keys = newKeys()
    const mine = await keys.create({ ...wanted, tenant: 77 })
    const theirs = await keys.create({ ...wanted, tenant: 78 })
    const operator = await keys.create({ ...wanted, tenant: null })
    expect((await keys.list(77)).map(({ id }) => id)).toEqual([mine.record.id])
    const ids = async (tenant: null | 'any') => (await keys.list(tenant)).map(({ id }) => id)
    expect(await ids(null)).toContain(operator.record.id)
    expect(await ids(null)).not.toContain(mine.record.id)
    expect(await ids('any')).toEqual(expect.arrayContaining([mine.record.id, theirs.record.id, operator.record.id]))
  })
})

describe('last use', () => {
  test('is written at most once a minute, and the first use of a UTC day is reported once across servers', async () => {
    const uses: FirstUse[] = []
    const onFirstUse = (use: FirstUse) => uses.push(use)
    const servers = [newKeys({ onFirstUse }), newKeys({ onFirstUse })]
    const { key, record } = await servers[0]!.create(wanted)
    const use = async () => {
      for (const server of servers) expect(await reason(server, bearer(key))).toBe('ok')
      await Promise.all(servers.map((server) => server.flush()))
    }
    const lastUse = async () => (await servers[0]!.list(1)).find(({ id }) => id === record.id)!.lastUsedAt
    const start_ms = now_ms
    await use()
    expect(uses).toEqual([{ keyId: record.id, name: wanted.name, tenant: 1, at_ms: start_ms }])
    now_ms = start_ms + 59_999
    await use()
    expect(await lastUse()).toBe(start_ms)
    now_ms = start_ms + 60_000
    await use()
    expect(await lastUse()).toBe(start_ms + 60_000)
    expect(uses).toHaveLength(1)
    now_ms = Date.parse('2026-03-10T23:59:59.500Z')
    await use()
    now_ms = Date.parse('2026-03-11T00:00:00.000Z')
    await use()
    expect(uses.map(({ at_ms }) => at_ms)).toEqual([start_ms, now_ms])
  })

  test('that could not be written is written later', async () => {
    let down = false
    const pool = database.store.pool('keeper')
    const uses: FirstUse[] = []
    const keeper: Queryable = {
      query: (text, values) => (down ? Promise.reject(new Error('down')) : pool.query(text, values)),
    }
    const keys = newKeys({ keeper, onFirstUse: (use) => uses.push(use) })
    const { key } = await keys.create(wanted)
    await keys.authenticate(bearer(key))
    down = true
    await expect(keys.flush()).rejects.toThrow('down')
    down = false
    await keys.flush()
    expect(uses).toHaveLength(1)
  })
})
