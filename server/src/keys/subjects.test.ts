import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { newTenant as makeTenant } from '../../test/tenant.ts'
import { openDatabase, type Queryable } from '../store/database.ts'
import { silent } from '../store/log.ts'
import type { KeyTenant } from './buckets.ts'
import { openKeyFolder } from './key-folder.ts'
import { Personas } from './personas.ts'
import type { KeyProvider } from './provider.ts'
import { type PersonLine, type ResolvedLine, Subjects, type SubjectsOptions } from './subjects.ts'

let database: TestDatabase
let folder: string
let provider: KeyProvider

beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-subjects-'))
  provider = await openKeyFolder({ folder, mayCreateRoot: true })
})
afterAll(async () => {
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const newTenant = (): Promise<KeyTenant> => makeTenant(database, provider)

const newSubjects = (options: Partial<SubjectsOptions> = {}) =>
  new Subjects({
    ingest: database.store.pool('ingest'),
    keeper: database.store.pool('keeper'),
    provider,
    ...options,
  })

const person = (id: string, content?: string, search: string[] = []): PersonLine => ({
  identity: { type: 'user', id },
  content,
  search: () => search,
})

async function resolveOne(subjects: Subjects, tenant: KeyTenant, line: PersonLine): Promise<ResolvedLine> {
  return (await subjects.resolve([{ tenant, lines: [line] }]))[0]!.lines[0]!
}

const salt = Buffer.alloc(16, 1)
/** A comparable view: the salt stands for the key. */
const view = ({ subject, keyId, persona, saltKey }: ResolvedLine) => ({
  subject,
  keyId,
  persona,
  salt: saltKey?.salt(salt, 0).toString('hex') ?? null,
})

async function count(table: string, tenant: KeyTenant): Promise<number> {
  const { rows } = await database.superuser.query(`select count(*) from ${table} where tenant = $1`, [tenant.number])
  return rows[0].count
}

/** As an erasure does: the person's row first, then their key, personas and tokens, and the shard's epoch. */
async function erase(tenant: KeyTenant, subject: number): Promise<number> {
  await database.superuser.query(
    'update affidavit.subjects set token = gen_random_uuid(), erased_at = now() where number = $1',
    [subject],
  )
  for (const table of ['keeper.subject_keys', 'affidavit.personas', 'affidavit.persona_tokens'])
    await database.superuser.query(`delete from ${table} where subject = $1`, [subject])
  const { rows } = await database.superuser.query(
    'update affidavit.shards set key_epoch = key_epoch + 1 where shard = $1 returning key_epoch',
    [tenant.trail.shard],
  )
  return rows[0].key_epoch
}

/** Counts statements and fails one of them: before it reaches the database, or after, when its answer is lost. */
function faulty(inner: Queryable, fault: { at: number; when: 'before' | 'after' }, counter: { n: number }): Queryable {
  return {
    query: async (text, values) => {
      const mine = ++counter.n === fault.at
      if (mine && fault.when === 'before') throw new Error('killed')
      const result = await inner.query(text, values)
      if (mine) throw new Error('killed')
      return result as never
    },
  }
}

describe('resolve', () => {
  test('a person is the same subject and persona every time, on every server, and others are others', async () => {
    const tenant = await newTenant()
    const [here, there] = [newSubjects(), newSubjects()]
    const first = await resolveOne(here, tenant, person('sarah', '[["/actor/name","Sarah"]]'))
    expect(first.keyId).toMatch(/^[0-9a-f]{32}$/)
    for (const subjects of [here, there])
      expect(view(await resolveOne(subjects, tenant, person('sarah', '[["/actor/name","Sarah"]]')))).toEqual(
        view(first),
      )
    const renamed = await resolveOne(here, tenant, person('sarah', '[["/actor/name","Sarah Johnson"]]'))
    expect({ ...view(renamed), persona: 0 }).toEqual({ ...view(first), persona: 0 })
    expect(renamed.persona).not.toBe(first.persona)
    const other = await resolveOne(here, tenant, person('mark', '[["/actor/name","Sarah"]]'))
    expect([other.subject, other.persona]).not.toEqual([first.subject, first.persona])
    expect(view(other).salt).not.toBe(view(first).salt)
  })

  test('answers in order, for many tenants in one call, with repeats within it', async () => {
    const [a, b] = [await newTenant(), await newTenant()]
    const subjects = newSubjects()
    const lines = ['1', '2', '1', '3'].map((id) => person(id, `[["/actor/name","${id}"]]`))
    const [ofA, ofB] = await subjects.resolve([
      { tenant: a, lines },
      { tenant: b, lines: lines.toReversed() },
    ])
    expect(view(ofA!.lines[0]!)).toEqual(view(ofA!.lines[2]!))
    expect(view(ofB!.lines[1]!)).toEqual(view(ofB!.lines[3]!))
    expect(new Set([...ofA!.lines, ...ofB!.lines].map(({ subject }) => subject)).size).toBe(6)
    expect(subjects.known({ tenant: a, lines })!.lines.map(view)).toEqual(ofA!.lines.map(view))
    expect(await count('affidavit.subjects', a)).toBe(3)
  })

  test('identities: type and id, else e-mail in any case, else unknown per UTC day', async () => {
    const tenant = await newTenant()
    let now_ms = Date.parse('2026-03-10T23:59:59Z')
    const subjects = newSubjects({ now: () => now_ms })
    const subjectOf = async (identity: PersonLine['identity']) =>
      (await resolveOne(subjects, tenant, { identity })).subject
    expect(await subjectOf({ email: 'Sarah@Example.com ' })).toBe(await subjectOf({ email: 'sarah@example.com' }))
    // Type and id are kept apart whatever they hold.
    const tricky = await Promise.all([
      subjectOf({ type: 'user', id: '1:x' }),
      subjectOf({ type: 'user1', id: ':x' }),
      subjectOf({ type: 'user', id: 'sarah@example.com' }),
      subjectOf({ email: 'sarah@example.com' }),
    ])
    expect(new Set(tricky).size).toBe(4)
    const today = await subjectOf('unknown')
    expect(await subjectOf('unknown')).toBe(today)
    now_ms += 2_000
    expect(await subjectOf('unknown')).not.toBe(today)
  })

  test('a line without content costs no key, and gets one when it first needs it', async () => {
    const tenant = await newTenant()
    const subjects = newSubjects()
    const bare = await resolveOne(subjects, tenant, person('robot'))
    expect(bare).toMatchObject({ persona: null, saltKey: null })
    expect(await count('keeper.subject_keys', tenant)).toBe(0)
    const full = await resolveOne(subjects, tenant, person('robot', '[]'))
    expect(full).toMatchObject({ subject: bare.subject, keyId: bare.keyId })
    expect(full.saltKey).not.toBeNull()
    expect(await resolveOne(subjects, tenant, person('robot'))).toMatchObject({ persona: null, saltKey: null })
  })

  test('search tokens are stored once per persona, normalised, and differ between tenants', async () => {
    const [a, b] = [await newTenant(), await newTenant()]
    const subjects = newSubjects()
    const line = person('sarah', '[["/actor/name","Sarah"]]', ['Sarah', 'sarah', ' SARAH ', '203.0.113.7'])
    for (const tenant of [a, b]) {
      const { persona } = await resolveOne(subjects, tenant, line)
      const { rows } = await database.superuser.query(
        'select array_agg(token order by token) as tokens, min(persona) as persona from affidavit.persona_tokens where tenant = $1',
        [tenant.number],
      )
      const expected = [tenant.keys.searchToken('sarah'), tenant.keys.searchToken('203.0.113.7')].sort((x, y) =>
        x < y ? -1 : 1,
      )
      expect(rows[0]).toEqual({ tokens: expected, persona })
    }
    expect(a.keys.searchToken('sarah')).not.toBe(b.keys.searchToken('sarah'))
  })

  test('2,500 new people fill buckets of at most 1,024', async () => {
    const tenant = await newTenant()
    const lines = Array.from({ length: 2_500 }, (_, n) => person(`p${n}`, `[["/n",${n}]]`))
    const [resolved] = await newSubjects().resolve([{ tenant, lines }])
    expect(new Set(resolved!.lines.map(({ persona }) => persona)).size).toBe(2_500)
    await resolveOne(newSubjects(), tenant, person('one more', '[]')) // another server goes on in the same bucket
    const { rows } = await database.superuser.query(
      `select b.subjects, count(k.subject) as keys from keeper.buckets b left join keeper.subject_keys k on k.bucket = b.number
       where b.tenant = $1 group by b.number order by b.number`,
      [tenant.number],
    )
    expect(rows).toEqual([1024, 1024, 453].map((n) => ({ subjects: n, keys: n })))
  })

  test('new people of one tenant that was read anew in the middle of their batch', async () => {
    const tenant = await newTenant()
    const groups = [tenant, { ...tenant }, tenant, { ...tenant }].map((same, n) => ({
      tenant: same,
      lines: [person(`user_${n}`, `["${n}"]`)],
    }))
    const resolved = await newSubjects().resolve(groups)
    expect(new Set(resolved.map(({ lines }) => lines[0]!.persona)).size).toBe(4)
    expect(await count('keeper.buckets', tenant)).toBe(1)
  })

  test('a batch of new people takes seven round trips, of known people none', async () => {
    const groups = [await newTenant(), await newTenant(), await newTenant()].map((tenant) => ({
      tenant,
      lines: Array.from({ length: 50 }, (_, n) => person(`p${n}`, `[["/n",${n}]]`)),
    }))
    const counter = { n: 0 }
    const never = { at: 0, when: 'before' } as const
    const subjects = newSubjects({
      ingest: faulty(database.store.pool('ingest'), never, counter),
      keeper: faulty(database.store.pool('keeper'), never, counter),
    })
    await subjects.resolve([{ tenant: await newTenant(), lines: [person('epoch read')] }])
    counter.n = 0
    await subjects.resolve(groups)
    expect(counter.n).toBe(7)
    counter.n = 0
    await subjects.resolve(groups)
    expect(counter.n).toBe(0)
    const elsewhere = groups.map(({ tenant }) => ({ tenant, lines: [person('p1', '[["/n","elsewhere"]]')] }))
    await subjects.resolve(elsewhere)
    expect(counter.n).toBe(1)
  })

  test('a persona that another server stored meanwhile is found, though it is taken for new', async () => {
    const tenant = await newTenant()
    const servers = [newSubjects(), newSubjects()] as const
    for (const subjects of servers) await resolveOne(subjects, tenant, person('sarah', '[["/n","here"]]', ['here']))
    const line = person('sarah', '[["/n","there"]]', ['there'])
    const first = view(await resolveOne(servers[0], tenant, line))
    expect(view(await resolveOne(servers[1], tenant, line))).toEqual(first)
    expect(await count('affidavit.personas', tenant)).toBe(2)
    expect(await count('affidavit.persona_tokens', tenant)).toBe(2)
  })
})

describe('several servers', () => {
  test('four that meet the same new people at once agree on subjects, keys and personas', async () => {
    const groups = [await newTenant(), await newTenant()].map((tenant) => ({
      tenant,
      lines: Array.from({ length: 300 }, (_, n) => person(`p${n}`, `[["/n",${n}]]`, [`name ${n}`])),
    }))
    const servers = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const store = openDatabase({ login: database.login, log: silent })
        const own = await openKeyFolder({ folder, mayCreateRoot: false })
        return {
          store,
          subjects: newSubjects({ ingest: store.pool('ingest'), keeper: store.pool('keeper'), provider: own }),
        }
      }),
    )
    // Each in its own order, so that their row locks meet.
    const shuffled = servers.map((_, at) =>
      groups.map(({ tenant, lines }) => ({ tenant, lines: at % 2 ? lines.toReversed() : lines })),
    )
    const results = await Promise.all(servers.map(({ subjects }, at) => subjects.resolve(shuffled[at]!)))
    const views = results.map((groupsOf, at) =>
      groupsOf.map(({ lines }) => (at % 2 ? lines.toReversed() : lines).map(view)),
    )
    for (const other of views.slice(1)) expect(other).toEqual(views[0])
    for (const { tenant } of groups) {
      expect(await count('affidavit.subjects', tenant)).toBe(300)
      expect(await count('keeper.subject_keys', tenant)).toBe(300)
      expect(await count('affidavit.personas', tenant)).toBe(300)
      expect(await count('affidavit.persona_tokens', tenant)).toBe(300)
    }
    await Promise.all(servers.map(({ store }) => store.end()))
  })
})

describe('a crash', () => {
  // Seven statements settle a new person (see above), the first of a process also reads the epochs.
  for (const when of ['before', 'after'] as const)
    for (let at = 1; at <= 8; at++)
      test(`${when} statement ${at}: the next use settles the person, once`, async () => {
        const tenant = await newTenant()
        const counter = { n: 0 }
        const dying = newSubjects({
          ingest: faulty(database.store.pool('ingest'), { at, when }, counter),
          keeper: faulty(database.store.pool('keeper'), { at, when }, counter),
        })
        const line = person('sarah', '[["/actor/name","Sarah"]]', ['sarah'])
        await expect(resolveOne(dying, tenant, line)).rejects.toThrow('killed')
        const same = view(await resolveOne(dying, tenant, line))
        const after = await resolveOne(newSubjects(), tenant, line)
        expect(view(after)).toEqual(same)
        expect(await count('affidavit.subjects', tenant)).toBe(1)
        expect(await count('keeper.subject_keys', tenant)).toBe(1)
        expect(await count('affidavit.personas', tenant)).toBe(1)
        expect(await count('affidavit.persona_tokens', tenant)).toBe(1)
        const opened = await new Personas({ keeper: database.store.pool('keeper'), provider }).open(tenant, [
          after.persona!,
        ])
        expect(opened.get(after.persona!)).toMatchObject({ content: '[["/actor/name","Sarah"]]' })
      })
})

describe('an erased person', () => {
  test('is resolved to a new subject and key after forgetShard, and what was cached carries the old epoch', async () => {
    const tenant = await newTenant()
    const subjects = newSubjects()
    const line = person('sarah', '[["/actor/name","Sarah"]]')
    const group = { tenant, lines: [line] }
    const [before] = await subjects.resolve([group])
    const epoch = await erase(tenant, before!.lines[0]!.subject)
    // Not told yet: the stale answer can only be sealed with an epoch that the shard refuses.
    expect(subjects.known(group)!.keyEpoch).toBe(epoch - 1)
    subjects.forgetShard(tenant.trail.shard, epoch)
    expect(subjects.known(group)).toBeUndefined()
    const [after] = await subjects.resolve([group])
    expect(after!.keyEpoch).toBe(epoch)
    expect(after!.lines[0]!.subject).not.toBe(before!.lines[0]!.subject)
    expect(after!.lines[0]!.keyId).not.toBe(before!.lines[0]!.keyId)
    expect(view(after!.lines[0]!).salt).not.toBe(view(before!.lines[0]!).salt)
    subjects.forgetShard(tenant.trail.shard, epoch) // told twice: nothing is dropped again
    expect(subjects.known(group)).toBeDefined()
  })

  test('gets no persona and no key back through a server that still has them cached', async () => {
    const tenant = await newTenant()
    const subjects = newSubjects()
    const withKey = await resolveOne(subjects, tenant, person('sarah', '[["/n",1]]'))
    const withoutKey = await resolveOne(subjects, tenant, person('robot'))
    await erase(tenant, withKey.subject)
    await erase(tenant, withoutKey.subject)
    for (const [id, old] of [
      ['sarah', withKey],
      ['robot', withoutKey],
    ] as const) {
      const again = await resolveOne(subjects, tenant, person(id, '[["/n",2]]'))
      expect(again.subject).not.toBe(old.subject)
      const { rows } = await database.superuser.query(
        `select (select count(*) from affidavit.personas where subject = $1) as personas,
           (select count(*) from keeper.subject_keys where subject = $1) as keys`,
        [old.subject],
      )
      expect(rows[0]).toEqual({ personas: 0, keys: 0 })
    }
  })

  test('who is erased while being resolved is not cached under the new epoch', async () => {
    const tenant = await newTenant()
    const group = { tenant, lines: [person('sarah', '[["/n",1]]')] }
    const [before] = await newSubjects().resolve([group])
    let subjects: Subjects
    const keeper: Queryable = {
      query: async (text, values) => {
        const result = await database.store.pool('keeper').query(text, values)
        // The key has just been read: now it is destroyed, and another lane of this server learns of it first.
        if (String(text).includes('keeper.subject_keys k'))
          subjects.forgetShard(tenant.trail.shard, await erase(tenant, before!.lines[0]!.subject))
        return result as never
      },
    }
    subjects = newSubjects({ keeper })
    const [during] = await subjects.resolve([group])
    const { rows } = await database.superuser.query('select key_epoch from affidavit.shards where shard = $1', [
      tenant.trail.shard,
    ])
    expect(during!.keyEpoch).toBeLessThan(rows[0].key_epoch)
    expect(subjects.known(group)).toBeUndefined()
  })

  test('is dropped from memory by forget, others stay', async () => {
    const tenant = await newTenant()
    const subjects = newSubjects()
    const lines = [person('a', '[["/n",1]]'), person('b', '[["/n",2]]')]
    const [resolved] = await subjects.resolve([{ tenant, lines }])
    subjects.forget([resolved!.lines[0]!.subject])
    expect(subjects.known({ tenant, lines: [lines[0]!] })).toBeUndefined()
    expect(subjects.known({ tenant, lines: [lines[1]!] })).toBeDefined()
  })
})

describe('rotation', () => {
  test('a server with an open bucket goes on after the bucket was re-wrapped and its generation destroyed', async () => {
    const tenant = await newTenant()
    const subjects = newSubjects()
    await resolveOne(subjects, tenant, person('a', '[]'))
    await provider.createGeneration(tenant.keyring, 1)
    await database.superuser.query(
      'insert into keeper.generations values ($1, 1) on conflict (tenant) do update set current = 1',
      [tenant.number],
    )
    // The bucket as an erasure leaves it that re-wraps its keys: other bytes, another generation.
    await database.superuser.query('delete from keeper.subject_keys where tenant = $1', [tenant.number])
    await database.superuser.query(
      `update keeper.buckets set generation = 1, wrapped = 'gone', subjects = 1024 where tenant = $1`,
      [tenant.number],
    )
    await provider.destroyGeneration(tenant.keyring, 0)
    const b = await resolveOne(subjects, tenant, person('b', '[]'))
    expect(view(await resolveOne(newSubjects(), tenant, person('b', '[]')))).toEqual(view(b))
    const { rows } = await database.superuser.query(
      'select b.generation from keeper.subject_keys k join keeper.buckets b on b.number = k.bucket where k.subject = $1',
      [b.subject],
    )
    expect(rows).toEqual([{ generation: 1 }])
  })
})

describe('keys that were tampered with', () => {
  test('are refused by name, without a byte of them', async () => {
    const tenant = await newTenant()
    const a = await resolveOne(newSubjects(), tenant, person('a', '[]'))
    const b = await resolveOne(newSubjects(), tenant, person('b', '[]'))
    const swap =
      'update keeper.subject_keys set wrapped = (select wrapped from keeper.subject_keys where subject = $2) where subject = $1'
    await database.superuser.query(swap, [a.subject, b.subject])
    const error: Error & { code?: string } = await resolveOne(newSubjects(), tenant, person('a', '[]')).catch(
      (thrown) => thrown,
    )
    expect(error.code).toBe('key_tampered')
    expect(error.message).toContain(`subject_keys.wrapped ${tenant.keyring} ${a.subject}`)
    // The neighbour is not harmed.
    expect(view(await resolveOne(newSubjects(), tenant, person('b', '[]')))).toEqual(view(b))
    await database.superuser.query(
      `update keeper.buckets set wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20)) where tenant = $1`,
      [tenant.number],
    )
    await expect(resolveOne(newSubjects(), tenant, person('b', '[]'))).rejects.toMatchObject({ code: 'key_tampered' })
  })

  test('resolved lines print no key', async () => {
    const tenant = await newTenant()
    const { saltKey } = await resolveOne(newSubjects(), tenant, person('a', '[]'))
    expect(JSON.stringify({ saltKey, keys: tenant.keys })).not.toMatch(/[0-9a-f]{40}|"data"/)
    expect(inspect(saltKey, { showHidden: true, depth: 9 })).toBe('SubjectKey {}')
  })
})

describe('the cache', () => {
  test('stays within its bounds and keeps what is in use', async () => {
    const tenant = await newTenant()
    const limits = { subjects: { entries: 100, bytes: 1e6 }, personas: { entries: 100, bytes: 1e6 } }
    const subjects = newSubjects({ limits })
    const busy = { tenant, lines: [person('busy', '[]')] }
    await subjects.resolve([busy])
    for (let n = 0; n < 300; n += 30) {
      await subjects.resolve([{ tenant, lines: Array.from({ length: 30 }, (_, i) => person(`p${n + i}`, '[]')) }])
      expect(subjects.known(busy)).toBeDefined()
    }
    expect(subjects.known({ tenant, lines: [person('p0', '[]')] })).toBeUndefined()
  })
})
