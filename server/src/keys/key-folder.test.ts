import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { place } from './aead.ts'
import { openKeyFolder } from './key-folder.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-keys-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const openFolder = (mayCreateRoot = true) => openKeyFolder({ folder, mayCreateRoot })
const keyring = 'ab'.repeat(16)
const where = place('test', 1)

/** The error that `work` throws; its text must not hold the secret in any spelling. */
async function refusal(work: Promise<unknown>, secret?: Buffer): Promise<{ code: string; message: string }> {
  const error = await work.then(
    () => undefined,
    (thrown: Error & { code: string }) => thrown,
  )
  if (error === undefined) throw new Error('nothing was thrown')
  const text = `${error.message} ${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`
  if (secret)
    for (const spelling of ['hex', 'base64', 'latin1'] as const) expect(text).not.toContain(secret.toString(spelling))
  return { code: error.code, message: error.message }
}

describe('root key', () => {
  test('is made once, with mode 0600, also when eight processes start at the same moment', async () => {
    const providers = await Promise.all(Array.from({ length: 8 }, () => openFolder()))
    expect(new Set(providers.map(({ rootCheck }) => rootCheck)).size).toBe(1)
    expect((await stat(join(folder, 'root.key'))).mode & 0o777).toBe(0o600)
    expect(await readdir(folder)).toEqual(['root.key'])
  })

  test('can come from the environment, as hex or base64, and then needs no file', async () => {
    const key = randomBytes(32)
    const fromHex = await openKeyFolder({ folder, rootKey: key.toString('hex'), mayCreateRoot: true })
    const fromBase64 = await openKeyFolder({ folder, rootKey: key.toString('base64'), mayCreateRoot: true })
    expect(fromHex.rootCheck).toBe(fromBase64.rootCheck)
    expect(await readdir(folder)).toEqual([])
  })

  test('of the wrong length is refused without being shown', async () => {
    const short = randomBytes(31)
    const work = openKeyFolder({ folder, rootKey: short.toString('hex'), mayCreateRoot: true })
    expect((await refusal(work, short)).code).toBe('key_missing')
  })

  test('is not made anew when the database has keys already', async () => {
    expect((await refusal(openFolder(false))).message).toContain('Restore the key folder')
  })

  test('of another folder opens nothing', async () => {
    const key = randomBytes(32)
    const wrapped = await (await openFolder()).wrapUnderRoot(where, key)
    await unlink(join(folder, 'root.key'))
    expect((await refusal((await openFolder()).unwrapUnderRoot(where, wrapped), key)).code).toBe('key_tampered')
  })
})

describe('wrapped keys', () => {
  test('open at their place only, and not after any change', async () => {
    const provider = await openFolder()
    const key = randomBytes(32)
    const wrapped = await provider.wrapUnderRoot(where, key)
    expect(await provider.unwrapUnderRoot(where, wrapped)).toEqual(key)
    expect((await refusal(provider.unwrapUnderRoot(place('test', 2), wrapped), key)).code).toBe('key_tampered')
    for (let at = 0; at < wrapped.length; at++) {
      const changed = Buffer.from(wrapped)
      changed[at]! ^= 1
      expect((await refusal(provider.unwrapUnderRoot(where, changed), key)).code).toBe('key_tampered')
    }
    for (const length of [0, 5, 12, 27, wrapped.length - 1])
      expect((await refusal(provider.unwrapUnderRoot(where, wrapped.subarray(0, length)), key)).code).toBe(
        'key_tampered',
      )
  })
})

describe('generations', () => {
  test('are agreed on by processes that make one at the same moment', async () => {
    const providers = await Promise.all(Array.from({ length: 4 }, () => openFolder()))
    await Promise.all(providers.map((provider) => provider.createGeneration(keyring, 0)))
    const key = randomBytes(32)
    const wrapped = await providers[0]!.wrap(keyring, 0, where, key)
    for (const provider of providers) expect(await provider.unwrap(keyring, 0, where, wrapped)).toEqual(key)
    const names = await readdir(join(folder, 'generations', 'ab'))
    expect(names).toEqual([`${keyring}.0`])
  })

  test('once destroyed open nothing, do not come back, and are not listed', async () => {
    const provider = await openFolder()
    await provider.createGeneration(keyring, 0)
    await provider.createGeneration(keyring, 10)
    const key = randomBytes(32)
    const wrapped = await provider.wrap(keyring, 0, where, key)
    expect(await provider.generations(keyring)).toEqual([0, 10])
    await provider.destroyGeneration(keyring, 0)
    await provider.destroyGeneration(keyring, 0)
    expect(await provider.generations(keyring)).toEqual([10])
    for (const process of [provider, await openFolder()]) {
      expect((await refusal(process.unwrap(keyring, 0, where, wrapped), key)).code).toBe('key_destroyed')
      expect((await refusal(process.createGeneration(keyring, 0))).code).toBe('key_destroyed')
    }
    expect(await readFile(join(folder, 'generations', 'ab', `${keyring}.0`))).toHaveLength(0)
  })

  test('cannot be swapped between tenants or numbers', async () => {
    const provider = await openFolder()
    const other = `${'ab'.repeat(15)}cd`
    await provider.createGeneration(keyring, 0)
    const file = (name: string) => join(folder, 'generations', 'ab', name)
    await writeFile(file(`${other}.0`), await readFile(file(`${keyring}.0`)))
    await writeFile(file(`${keyring}.1`), await readFile(file(`${keyring}.0`)))
    expect((await refusal(provider.wrap(other, 0, where, randomBytes(32)))).code).toBe('key_tampered')
    expect((await refusal(provider.wrap(keyring, 1, where, randomBytes(32)))).code).toBe('key_tampered')
    expect((await refusal(provider.wrap(keyring, 2, where, randomBytes(32)))).code).toBe('key_missing')
  })

  test('are named by trail ids and by nothing that leaves the folder', async () => {
    const provider = await openFolder()
    await expect(provider.createGeneration('../../../../../tmp/x', 0)).rejects.toThrow('is no trail id')
  })
})
