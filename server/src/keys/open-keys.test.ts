import { hash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseVkey, signNote, verifyEd25519, verifyNote } from '@affidavit/trail'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { trailName } from './log-key.ts'
import { type Keys, type OpenKeysOptions, openKeys } from './open-keys.ts'

let database: TestDatabase
let folder: string
beforeEach(async () => {
  database = await freshDatabase()
  folder = await mkdtemp(join(tmpdir(), 'affidavit-open-'))
})
afterEach(async () => {
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const start = (options: Partial<OpenKeysOptions> = {}) =>
  openKeys({ keeper: database.store.pool('keeper'), folder, ...options })
const facts = ({ logKey, logName, recoveryPublicKey, provider }: Keys) => ({
  log: Buffer.from(logKey.publicKey).toString('hex'),
  recovery: Buffer.from(recoveryPublicKey).toString('hex'),
  logName,
  root: provider.rootCheck,
})

test('four processes that start at once on one database and folder agree, and so does every later start', async () => {
  const starts = await Promise.all(Array.from({ length: 4 }, () => start()))
  for (const other of starts) expect(facts(other)).toEqual(facts(starts[0]!))
  expect(facts(await start())).toEqual(facts(starts[0]!))
  expect(starts[0]!.logName).toMatch(/^affidavit\.invalid\/[0-9a-f]{16}$/)
  expect((await readdir(folder)).sort()).toEqual(['log.key', 'recovery.key', 'recovery.pub', 'root.key'])
  for (const name of await readdir(folder)) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600)
})

test('the log key signs notes that its vkey verifies, and is not on disk in the clear', async () => {
  const { logKey, logName } = await start({ logName: 'audit.example.com' })
  const name = trailName(logName, 'ab'.repeat(16))
  const note = await signNote('hello\n', [logKey.signer(name)])
  const key = parseVkey((data) => hash('sha256', data, 'buffer'), logKey.vkey(name))
  expect((await verifyNote(verifyEd25519, note, [key])).verified).toEqual([key])
  const other = parseVkey((data) => hash('sha256', data, 'buffer'), (await start()).logKey.vkey(name))
  expect(other).toEqual(key)
  // The PKCS #8 of every Ed25519 key begins so.
  expect((await readFile(join(folder, 'log.key'))).toString('hex')).not.toContain('302e020100300506032b6570')
})

test('the recovery key may be moved offline', async () => {
  const first = await start()
  expect(first.recoveryFile).toBe(join(folder, 'recovery.key'))
  expect(await readFile(first.recoveryFile!, 'utf8')).toContain('Move this file offline now')
  await unlink(first.recoveryFile!)
  const second = await start()
  expect(second.recoveryFile).toBeNull()
  expect(facts(second)).toEqual(facts(first))
})

test('another folder, another root, another log name, or a missing file stops the start with a sentence', async () => {
  const rootKey = randomBytes(32).toString('hex')
  await start({ rootKey, logName: 'audit.example.com' })
  const elsewhere = await mkdtemp(join(tmpdir(), 'affidavit-open-'))
  await expect(start({ folder: elsewhere, rootKey })).rejects.toMatchObject({ code: 'key_missing' })
  await expect(start()).rejects.toMatchObject({ code: 'key_missing' })
  await expect(start({ rootKey: randomBytes(32).toString('hex') })).rejects.toMatchObject({
    code: 'key_mismatch',
    message: expect.stringContaining('The root key is not the one'),
  })
  await expect(start({ rootKey, logName: 'other.example.com' })).rejects.toThrow('log name is audit.example.com')
  await expect(start({ rootKey, logName: 'two words' })).rejects.toMatchObject({ code: 'key_mismatch' })
  await unlink(join(folder, 'log.key'))
  await expect(start({ rootKey })).rejects.toMatchObject({ code: 'key_missing' })
  await rm(elsewhere, { recursive: true })
})
