import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { newTenant, testTenants } from '../../test/tenant.ts'
import { decryptConfidential, encryptConfidential } from './confidential.ts'
import { openKeyFolder } from './key-folder.ts'
import { Personas, persona_freshness_ms } from './personas.ts'
import type { KeyProvider } from './provider.ts'
import { Subjects } from './subjects.ts'
import { KeyChest } from './tenant-keys.ts'

let database: TestDatabase
let folder: string
let provider: KeyProvider
beforeAll(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-personas-'))
  provider = await openKeyFolder({ folder, mayCreateRoot: true })
})
afterAll(async () => {
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

async function people(contents: string[]) {
  const tenant = await newTenant(database, provider)
  const pools = { ingest: database.store.pool('ingest'), keeper: database.store.pool('keeper') }
  const lines = contents.map((content, n) => ({ identity: { type: 'user', id: `${n}` }, content }))
  const [resolved] = await new Subjects({ ...pools, provider }).resolve([{ tenant, lines }])
  return { tenant, lines: resolved!.lines, personas: resolved!.lines.map(({ persona }) => persona!) }
}
const newPersonas = (now?: () => number) =>
  new Personas({ keeper: database.store.pool('keeper'), provider, ...(now && { now }) })

describe('open', () => {
  test('gives back contents and salts of a whole page in one round trip, and then from memory', async () => {
    const { tenant, lines, personas } = await people(['[["/n","ä 🔑"]]', '[]', '[["/x",null]]'])
    let queries = 0
    const pool = database.store.pool('keeper')
    const reader = new Personas({
      provider,
      keeper: {
        query: async (text, values) => {
          queries++
          return pool.query(text, values)
        },
      },
    })
    for (let round = 0; round < 2; round++) {
      const opened = await reader.open(tenant, [...personas, ...personas])
      expect(personas.map((number) => (opened.get(number) as { content: string }).content)).toEqual([
        '[["/n","ä 🔑"]]',
        '[]',
        '[["/x",null]]',
      ])
      const salt = randomBytes(16)
      for (const { persona, saltKey } of lines) {
        const reading = opened.get(persona!)
        if (typeof reading !== 'object') throw new Error('not open')
        expect(reading.saltKey.salt(salt, 3)).toEqual(saltKey!.salt(salt, 3))
      }
    }
    expect(queries).toBe(1)
  })

  test('another tenant’s persona reads as erased', async () => {
    const { personas } = await people(['[]'])
    const { tenant } = await people(['[]'])
    expect([...(await newPersonas().open(tenant, personas)).values()]).toEqual(['erased'])
  })

  test('an erased one is erased, at once where it was told, elsewhere within 5 s', async () => {
    const { tenant, lines, personas } = await people(['[1]', '[2]', '[3]'])
    let now_ms = 0
    const [told, untold] = [newPersonas(() => now_ms), newPersonas(() => now_ms)]
    for (const reader of [told, untold]) await reader.open(tenant, personas)
    await database.superuser.query('delete from keeper.subject_keys where subject = $1', [lines[0]!.subject])
    await database.superuser.query('delete from affidavit.personas where subject = $1', [lines[1]!.subject])
    told.forget([lines[0]!.subject, lines[1]!.subject])
    const readings = async (reader: Personas) => {
      const opened = await reader.open(tenant, personas)
      return personas.map((number) => opened.get(number)!).map((one) => (typeof one === 'object' ? one.content : one))
    }
    expect(await readings(told)).toEqual(['erased', 'erased', '[3]'])
    now_ms = persona_freshness_ms
    expect(await readings(untold)).toEqual(['erased', 'erased', '[3]'])
  })

  test('those beyond the bytes that may come are absent, not erased, in the order given', async () => {
    const { tenant, lines, personas } = await people(['a', 'b', 'c', 'd', 'e'].map((letter) => letter.repeat(1_000)))
    const [first, second, gone, third, fourth] = personas as [number, number, number, number, number]
    await database.superuser.query('delete from affidavit.personas where subject = $1', [lines[2]!.subject])
    const reader = newPersonas()
    const letters = (opened: Awaited<ReturnType<Personas['open']>>) =>
      [...opened].map(([number, one]) => [number, typeof one === 'object' ? one.content[0] : one])
    expect(letters(await reader.open(tenant, [fourth, gone, third, second, first], 1_500))).toEqual([
      [fourth, 'e'],
      [gone, 'erased'],
      [third, 'd'],
    ])
    // What is in memory takes no room, and what was left out is not taken for known.
    expect(letters(await reader.open(tenant, [fourth, third, second, first], 500)).map(([, one]) => one)).toEqual([
      'e',
      'd',
      'b',
    ])
    expect(letters(await reader.open(tenant, [first]))).toEqual([[first, 'a']])
  })

  test('one that was edited or moved to another person is told apart from an erased one, and harms no other', async () => {
    const { tenant, personas } = await people(['[1]', '[2]', '[3]'])
    await database.superuser.query(
      'update affidavit.personas set content = set_byte(content, 14, 255 - get_byte(content, 14)) where number = $1',
      [personas[0]],
    )
    await database.superuser.query(
      'update affidavit.personas set content = (select content from affidavit.personas where number = $2) where number = $1',
      [personas[1], personas[2]],
    )
    const opened = await newPersonas().open(tenant, personas)
    expect([opened.get(personas[0]!), opened.get(personas[1]!)]).toEqual(['tampered', 'tampered'])
    expect(opened.get(personas[2]!)).toMatchObject({ content: '[3]' })
  })
})

describe('confidential values', () => {
  test('open for their tenant and commitment only', async () => {
    const [tenant, other] = [await newTenant(database, provider), await newTenant(database, provider)]
    const commitment = randomBytes(32)
    const sealed = encryptConfidential(tenant, commitment, '{"amount":"1 €"}')
    expect(sealed.toString('latin1')).not.toContain('amount')
    expect(decryptConfidential(tenant, commitment, sealed)).toBe('{"amount":"1 €"}')
    for (const work of [
      () => decryptConfidential(other, commitment, sealed),
      () => decryptConfidential(tenant, randomBytes(32), sealed),
      () => decryptConfidential(tenant, commitment, Buffer.concat([sealed, Buffer.of(0)])),
      () => decryptConfidential(tenant, commitment, Buffer.of(0)),
    ])
      expect(work).toThrow(expect.objectContaining({ code: 'key_tampered' }))
    const future = Buffer.from(sealed)
    future.writeUInt16BE(7)
    expect(() => decryptConfidential(tenant, commitment, future)).toThrow(
      expect.objectContaining({ code: 'key_destroyed' }),
    )
  })

  test('a new generation of the data key is used for new values, and old values still open', async () => {
    const tenant = await newTenant(database, provider)
    const commitment = randomBytes(32)
    const old = encryptConfidential(tenant, commitment, 'old')
    const { data } = await new KeyChest({
      ...provider,
      wrapUnderRoot: (where: string, key: Uint8Array) => provider.wrapUnderRoot(where.replace(/0$/, '1'), key),
    } as KeyProvider).make(tenant.keyring)
    await database.superuser.query(`insert into keeper.tenant_keys values ($1, 'data', 1, $2)`, [tenant.number, data])
    const [reread] = (await testTenants(database, provider).byNumber([tenant.number])).values()
    const fresh = encryptConfidential(reread!, commitment, 'new')
    expect(fresh.readUInt16BE(0)).toBe(1)
    expect([decryptConfidential(reread!, commitment, old), decryptConfidential(reread!, commitment, fresh)]).toEqual([
      'old',
      'new',
    ])
  })
})
