import {
  CompactRange,
  decodeBundle,
  decodeEntry,
  leafHash,
  parseTilePath,
  type TileId,
  tileWidth,
  verifyInclusion,
} from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dayMs, type SealedDays, sealedDays } from '../../test/sealed-days.ts'
import type { Database, Pool } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import { Proofs } from './proof.ts'
import type { Reader } from './row.ts'

let world: SealedDays
let proofs: Proofs
let reader: Reader
const ids: string[] = []
const now = Date.now()
const notarizedSize = 600

const event = (i: number) => ({
  action: 'user.updated',
  actor: { id: `u${i % 7}`, name: `Name ${i % 7}`, email: `n${i % 7}@example.com` },
  context: i % 2 === 0 ? { session_id: `s${i}` } : { ip: '203.0.113.9' },
  metadata: { salary: i },
})

beforeAll(async () => {
  world = await sealedDays()
  proofs = new Proofs({ store: world.database.store, personas: world.personas })
  const tenant = await world.tenant('acme', { confidential: ['/metadata/salary'] })
  reader = { tenant, operator: false, confidential: true }
  for (let day = 3; day >= 0; day--) {
    const some = Array.from({ length: 160 }, (_, i) => event(i))
    ids.push(...(await world.seal('acme', now - day * dayMs, some)))
    if (day === 1) await world.tidy()
  }
  await notarize()
})
afterAll(() => world.drop())

/** What the notary writes for the first `notarizedSize` entries, with a note that is none. */
async function notarize(): Promise<void> {
  const { superuser } = world.database
  const trail = reader.tenant.trail.number
  const { rows } = await superuser.query<{ hash: Buffer }>(
    'select hash from affidavit.events where trail = $1 order by seq limit $2',
    [trail, notarizedSize],
  )
  const range = new CompactRange(sha256)
  const above: Uint8Array[] = []
  for (let at = 0; at < rows.length; at += 256) {
    const leaves = rows.slice(at, at + 256).map((row) => row.hash)
    for (const leaf of leaves) range.append(leaf)
    if (leaves.length < 256) break
    const tile = new CompactRange(sha256)
    for (const leaf of leaves) tile.append(leaf)
    above.push(tile.root())
    await superuser.query('insert into affidavit.tiles values ($1, 0, $2, $3)', [
      trail,
      at / 256,
      Buffer.concat(leaves),
    ])
  }
  await superuser.query('insert into affidavit.tiles values ($1, 1, 0, $2)', [trail, Buffer.concat(above)])
  await superuser.query('insert into affidavit.notarized values ($1, $2, $3, $4, $5, now())', [
    trail,
    notarizedSize,
    Buffer.from(range.root()),
    Buffer.from(range.toBytes()),
    'the note',
  ])
}

async function rootOf(): Promise<Buffer> {
  const { rows } = await world.database.superuser.query<{ root: Buffer }>('select root from affidavit.notarized')
  return rows[0]!.root
}

describe('proofs', () => {
  it('lead from an event to the checkpoint, in stored and in partial tiles', async () => {
    for (const seq of [0, 1, 255, 256, 400, 511, 512, 598, 599]) {
      const proof = await proofs.ofEvent(reader, ids[seq]!)
      if (proof.kind !== 'proof') throw new Error(proof.kind)
      const entry = Buffer.from(proof.entry.text, 'latin1')
      const leaf = leafHash(sha256, entry)
      expect(Buffer.from(leaf)).toEqual(proof.entry.hash)
      expect(decodeEntry(entry).seq).toBe(seq)
      expect(proof).toMatchObject({ size: notarizedSize, checkpoint: 'the note' })
      expect(verifyInclusion(sha256, leaf, seq, notarizedSize, proof.hashes, await rootOf())).toBe(true)
      expect(verifyInclusion(sha256, leaf, seq + 1, notarizedSize, proof.hashes, await rootOf())).toBe(false)
    }
  })

  it('wait for the notary, and are given for the own events only', async () => {
    expect(await proofs.ofEvent(reader, ids[600]!)).toMatchObject({ kind: 'not_notarized_yet', seq: 600 })
    expect(await proofs.ofEvent(reader, 'unknown')).toEqual({ kind: 'not_found' })
    const other = { tenant: await world.tenant('other'), operator: false, confidential: false }
    expect(await proofs.ofEvent(other, ids[0]!)).toEqual({ kind: 'not_found' })
    expect(await proofs.checkpoint(other)).toBeUndefined()
    expect(await proofs.checkpoint(other, reader.tenant.trail.id)).toBeUndefined()
    expect(await proofs.checkpoint(reader)).toBe('the note')
  })
})

describe('tiles', () => {
  const tile = (path: string) => proofs.tile(reader, parseTilePath(path) as TileId)

  it('hold the hashes of their level, full or partial', async () => {
    const { rows } = await world.database.superuser.query<{ hash: Buffer }>(
      'select hash from affidavit.events order by seq',
    )
    const hashes = (low: number, high: number) => Buffer.concat(rows.slice(low, high).map((row) => row.hash))
    expect(Buffer.from((await tile('tile/0/000'))!)).toEqual(hashes(0, 256))
    expect(Buffer.from((await tile('tile/0/001.p/3'))!)).toEqual(hashes(256, 259))
    expect(Buffer.from((await tile('tile/0/002.p/88'))!)).toEqual(hashes(512, 600))
    expect((await tile('tile/1/000.p/2'))!.length).toBe(64)
    for (const path of ['tile/0/002.p/89', 'tile/0/002', 'tile/0/003.p/1', 'tile/1/000.p/3', 'tile/2/000.p/1'])
      expect(await tile(path)).toBeUndefined()
  })

  it('bundle the entries that their hashes stand for', async () => {
    for (const index of [0, 1, 2]) {
      const width = tileWidth('entries', index, notarizedSize)
      const entries = decodeBundle((await proofs.tile(reader, { level: 'entries', index, width }))!)!
      const leaves = (await proofs.tile(reader, { level: 0, index, width }))!
      expect(Buffer.concat(entries.map((entry) => leafHash(sha256, entry)))).toEqual(Buffer.from(leaves))
    }
  })

  it('bundle entries without reading what they commit to, however large that is', async () => {
    const read: object[] = []
    const { store } = world.database
    const pool = (role: Parameters<Database['pool']>[0]): Pool => {
      const inner = store.pool(role)
      const asTenant: Pool['asTenant'] = (tenant, work) =>
        inner.asTenant(tenant, (session) => {
          const query: typeof session.query = async (text, values) => {
            const result = await session.query<never>(text, values)
            read.push(...result.rows)
            return result
          }
          return work({ ...session, query })
        })
      return Object.assign(Object.create(inner), { asTenant })
    }
    const watched = new Proofs({ store: { ...store, pool }, personas: world.personas })
    for (const operator of [false, true]) {
      expect(await watched.tile({ ...reader, operator }, { level: 'entries', index: 0, width: 256 })).toBeDefined()
      const events = read.splice(0).filter((row) => 'facts_commitment' in row)
      expect(events).toHaveLength(256)
      for (const { facts, facts_salt, confidential, operator: part } of events as Record<string, unknown>[]) {
        expect([facts, facts_salt]).toEqual([null, null])
        for (const bytes of [confidential, part]) expect((bytes as Buffer | null)?.length ?? 32).toBe(32)
      }
    }
  })
})
