// The key folder under a key management service, against moto: what lies on disk, what is refused and with which sentence,
// how it bears outages, and how it is moved from key to key. Skipped where moto cannot be had.
import { randomBytes } from 'node:crypto'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { readConfig } from '../src/config.ts'
import { place } from '../src/keys/aead.ts'
import { openKeyFolder } from '../src/keys/key-folder.ts'
import { Kms, type KmsSettings } from '../src/keys/kms.ts'
import { countUnder, type RewrapOptions, rewrapFolder } from '../src/keys/kms-rewrap.ts'
import { openProvider, type ProviderOptions } from '../src/keys/open-provider.ts'
import type { KeyProvider } from '../src/keys/provider.ts'
import { startKms } from './kms.ts'

const service = await startKms()
Object.assign(process.env, service?.credentials)
afterAll(() => service?.stop())

let folder: string
let key: string
beforeEach(async () => {
  if (service === null) return
  folder = await mkdtemp(join(tmpdir(), 'affidavit-kms-'))
  key = await service.key()
  service.asked()
})
afterEach(async () => {
  service?.up()
  vi.useRealTimers()
  if (folder) await rm(folder, { recursive: true, force: true })
})

const log = 'audit.example.com'
const keyring = 'ab'.repeat(16)
const where = place('test', 1)
const file = (name: string) => join(folder, 'generations', 'ab', name)
const settings = (...keys: string[]): KmsSettings => ({
  keys: keys.length > 0 ? keys : [key],
  region: service!.region,
  endpoint: service!.endpoint,
})
const openFolder = (options: Partial<ProviderOptions> = {}): Promise<KeyProvider> =>
  openProvider({ folder, kms: settings(), mayCreateRoot: true, newLogName: log, ...options })
const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'nothing was refused',
    ({ code, message }: { code: string; message: string }) => `${code}: ${message}`,
  )

/** Every file below the folder, by its name. */
async function contents(): Promise<Record<string, Buffer>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(await Promise.all(files.map(async (path) => [path, await readFile(path)] as const)))
}

test('settings name keys by id, alias or ARN, the wrapping one first', () => {
  const arn = 'arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab'
  const id = '1234abcd-12ab-34cd-56ef-1234567890ab'
  const read = (AFFIDAVIT_KMS_KEY: string, more: Record<string, string> = {}) =>
    readConfig({ AFFIDAVIT_KMS_KEY, ...more })
  expect(read(`alias/affidavit, ${id},${arn}`, { AFFIDAVIT_KMS_ENDPOINT: 'http://127.0.0.1:1' })).toMatchObject({
    ok: true,
    config: { kms: { keys: ['alias/affidavit', id, arn], endpoint: 'http://127.0.0.1:1' } },
  })
  expect(read('')).toMatchObject({ ok: true, config: { kms: undefined } })
  for (const wrong of ['my key', 'alias/', `${id},`, 'arn:aws:s3:::bucket', 'http://kms'])
    expect(read(wrong)).toMatchObject({ ok: false, problems: [expect.stringContaining('AFFIDAVIT_KMS_KEY')] })
  expect(read(id, { AFFIDAVIT_KMS_ENDPOINT: 'kms.example.com' })).toMatchObject({ ok: false })
})

describe.skipIf(service === null)('a folder under KMS', () => {
  test('holds no key that opens anything; processes that start at once agree on all', async () => {
    const all = await Promise.all(Array.from({ length: 4 }, (_, n) => openFolder({ newLogName: `log-${n}` })))
    await Promise.all(all.map((provider) => provider.createGeneration(keyring, 0)))
    const [one, two] = all as [KeyProvider, KeyProvider]
    expect(new Set(all.map(({ rootCheck, logName }) => `${rootCheck} ${logName}`)).size).toBe(1)
    const secret = randomBytes(32)
    expect(await two.unwrap(keyring, 0, where, await one.wrap(keyring, 0, where, secret))).toEqual(secret)
    expect(await two.unwrapUnderRoot(where, await one.wrapUnderRoot(where, secret))).toEqual(secret)
    const lying = await contents()
    expect(Object.keys(lying).map((path) => path.slice(folder.length + 1))).toEqual(
      expect.arrayContaining(['root.kms', `generations/ab/${keyring}.0`]),
    )
    // What opens them is told by the service alone.
    const kms = await Kms.connect(settings())
    const root = JSON.parse(String(lying[join(folder, 'root.kms')]))
    const generation = JSON.parse(String(lying[file(`${keyring}.0`)]))
    const clear = [
      await kms.unwrap(root, { purpose: 'affidavit/1 root', log: root.log }, 'root'),
      await kms.unwrap(
        generation,
        { purpose: 'affidavit/1 generation', log: root.log, keyring, generation: '0' },
        'generation',
      ),
    ]
    for (const bytes of Object.values(lying))
      for (const spelling of ['hex', 'base64', 'latin1'] as const)
        for (const one of clear) expect(bytes.toString('latin1')).not.toContain(one.toString(spelling))
  })

  test('is refused without KMS, with another log, without its root, and beside a root in the clear', async () => {
    const { rootCheck } = await openFolder()
    expect(await refusal(openKeyFolder({ folder, mayCreateRoot: true }))).toContain('AFFIDAVIT_KMS_KEY')
    expect(await refusal(openFolder({ logName: 'other.example.com' }))).toBe(
      `key_mismatch: The keys in ${folder} belong to the log ${log}, not to other.example.com.`,
    )
    expect(await refusal(openFolder({ rootKey: 'ab'.repeat(32) }))).toContain('are both set')
    await writeFile(join(folder, 'root.key'), `${'ab'.repeat(32)}\n`)
    expect(await refusal(openFolder())).toContain('still lies in the clear')
    await unlink(join(folder, 'root.key'))
    const root = await readFile(join(folder, 'root.kms'), 'utf8')
    await unlink(join(folder, 'root.kms'))
    expect(await refusal(openFolder({ mayCreateRoot: false }))).toContain('root.kms is missing')
    for (const change of [{ log: 'stolen.example.com' }, { check: '00'.repeat(8) }]) {
      await writeFile(join(folder, 'root.kms'), JSON.stringify({ ...JSON.parse(root), ...change }))
      expect(await refusal(openFolder())).toMatch(/^(kms_refused: KMS .* does not open|key_tampered)/)
    }
    await writeFile(join(folder, 'root.kms'), root)
    expect((await openFolder()).rootCheck).toBe(rootCheck)
  })

  test('opens a generation at its place only, and with no key of a stranger', async () => {
    const provider = await openFolder()
    const other = `${'ab'.repeat(15)}cd`
    await provider.createGeneration(keyring, 0)
    const held = await readFile(file(`${keyring}.0`), 'utf8')
    await writeFile(file(`${other}.0`), held)
    await writeFile(file(`${keyring}.1`), held)
    for (const [ring, n] of [
      [other, 0],
      [keyring, 1],
    ] as const)
      expect(await refusal(provider.wrap(ring, n, where, randomBytes(32)))).toMatch(
        /^kms_refused: .* was changed, moved/,
      )
    // A blob that somebody made under a key of their own, which they let us use.
    const stranger = await service!.key()
    const kms = await Kms.connect(settings(stranger))
    const context = { purpose: 'affidavit/1 generation', log, keyring, generation: '2' }
    await writeFile(file(`${keyring}.2`), JSON.stringify(await kms.wrap(randomBytes(32), context)))
    service!.asked()
    expect(await refusal(provider.wrap(keyring, 2, where, randomBytes(32)))).toContain(
      'AFFIDAVIT_KMS_KEY does not name',
    )
    expect(service!.asked().Decrypt).toBeUndefined()
  })

  test('destroyed generations stay destroyed, also where a crash or a copy left their bytes', async () => {
    const provider = await openFolder()
    await provider.createGeneration(keyring, 0)
    await provider.createGeneration(keyring, 10)
    const held = await readFile(file(`${keyring}.0`))
    const wrapped = await provider.wrap(keyring, 0, where, randomBytes(32))
    await provider.destroyGeneration(keyring, 0)
    await provider.destroyGeneration(keyring, 0)
    await provider.destroyGeneration(keyring, 7) // never made: its number is used up all the same
    expect(await provider.generations(keyring)).toEqual([10])
    expect(await readFile(file(`${keyring}.0`))).toHaveLength(0)
    for (const bytes of [Buffer.alloc(0), held]) {
      await writeFile(file(`${keyring}.0`), bytes) // killed after the mark was left, before the bytes were overwritten
      for (const process of [provider, await openFolder()]) {
        expect(await refusal(process.unwrap(keyring, 0, where, wrapped))).toContain('key_destroyed')
        expect(await refusal(process.createGeneration(keyring, 0))).toContain('key_destroyed')
        expect(await refusal(process.createGeneration(keyring, 7))).toContain('key_destroyed')
        expect(await process.generations(keyring)).toEqual([10])
      }
    }
    await provider.destroyGeneration(keyring, 0) // what was cut off is done again
    expect(await readFile(file(`${keyring}.0`))).toHaveLength(0)
    // Killed between the service's answer and the file's name: nothing was made, and it is made now.
    await writeFile(file(`${keyring}.11.1234.abcdef.tmp`), held)
    await provider.createGeneration(keyring, 11)
    expect(await provider.generations(keyring)).toEqual([10, 11])
  })

  test('an old copy opens while the service and its key answer: that is why keys are retired', async () => {
    const provider = await openFolder()
    await provider.createGeneration(keyring, 0)
    const secret = randomBytes(32)
    const wrapped = await provider.wrap(keyring, 0, where, secret)
    const copy = `${folder}-copy`
    await cp(folder, copy, { recursive: true })
    try {
      await provider.destroyGeneration(keyring, 0)
      const old = await openFolder({ folder: copy })
      expect(await old.unwrap(keyring, 0, where, wrapped)).toEqual(secret)
      const next = await service!.key()
      await rewrapFolder({ folder, kms: await Kms.connect(settings(next, key)), deployment: never })
      expect((await openFolder({ kms: settings(next) })).rootCheck).toBe(provider.rootCheck)
      service!.deny('Decrypt') // as AWS does for a key that waits for its deletion
      expect(await refusal(openFolder({ folder: copy }))).toMatch(/^kms_refused: KMS .* refuses kms:Decrypt/)
    } finally {
      await rm(copy, { recursive: true, force: true })
    }
  })
})

describe.skipIf(service === null)('KMS that does not serve', () => {
  test('stops a start with a sentence that names the reason', async () => {
    await openFolder()
    const disabled = await service!.key()
    await service!.disable(disabled)
    expect(await refusal(openFolder({ kms: settings(disabled) }))).toBe(
      `kms_refused: The key ${disabled} in KMS is not enabled but Disabled.`,
    )
    expect(await refusal(openFolder({ kms: settings('alias/none') }))).toMatch(
      /^kms_refused: KMS .* refuses kms:DescribeKey with alias\/none: NotFoundException, /,
    )
    expect(await refusal(openFolder({ kms: settings(await service!.key()) }))).toMatch(
      /^kms_refused: .*root\.kms is wrapped by arn:.*, which AFFIDAVIT_KMS_KEY does not name/,
    )
    for (const action of ['DescribeKey', 'Decrypt']) {
      service!.deny(action)
      expect(await refusal(openFolder())).toMatch(
        new RegExp(
          `^kms_refused: KMS .* refuses kms:${action} with arn:.* AccessDeniedException, .* is not authorized`,
        ),
      )
    }
    service!.down()
    expect(await refusal(openFolder())).toMatch(/^kms_unreachable: KMS \(http:.*\) cannot be reached: \S/)
  })

  test('does not touch what is open, and is asked again once it is back', async () => {
    const provider = await openFolder()
    await provider.createGeneration(keyring, 0)
    await provider.createGeneration(keyring, 1)
    const secret = randomBytes(32)
    const first = await provider.wrap(keyring, 0, where, secret)
    const second = await (await openFolder()).wrap(keyring, 1, where, secret)
    service!.asked()
    service!.down()
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
    // An hour later the file is looked at, and the service is not asked.
    expect(await provider.unwrap(keyring, 0, where, first)).toEqual(secret)
    expect(await provider.unwrapUnderRoot(where, await provider.wrapUnderRoot(where, secret))).toEqual(secret)
    for (const closed of [
      () => provider.unwrap(keyring, 1, where, second),
      () => provider.createGeneration(keyring, 2),
      () => provider.createGeneration(keyring, 3),
    ])
      expect(await refusal(closed())).toMatch(/^kms_unreachable/)
    // A thread that starts meanwhile has the root from its process, and goes to the service when it needs more.
    const openedRoot = provider.openedRoot!()
    const thread = await openFolder({ openedRoot })
    expect(await thread.unwrapUnderRoot(where, await provider.wrapUnderRoot(where, secret))).toEqual(secret)
    expect(await refusal(thread.unwrap(keyring, 0, where, first))).toMatch(/^kms_unreachable/)
    expect(await refusal(openFolder({ openedRoot: randomBytes(32) }))).toMatch(/^key_tampered/)
    service!.up()
    vi.setSystemTime(Date.now() + 3_000)
    expect(await thread.unwrap(keyring, 0, where, first)).toEqual(secret)
    service!.asked()
    const asked = Array.from({ length: 8 }, () => provider.unwrap(keyring, 1, where, second))
    for (const opened of asked) expect(await opened).toEqual(secret)
    expect(service!.asked()).toEqual({ Decrypt: 1 })
    await provider.createGeneration(keyring, 2)
    // What another process destroys is gone from here within a minute, however long it was open.
    await (await openFolder()).destroyGeneration(keyring, 0)
    vi.setSystemTime(Date.now() + 61_000)
    expect(await refusal(provider.unwrap(keyring, 0, where, first))).toContain('key_destroyed')
  })

  test('that hangs is given up soon, and nobody else waits for it', async () => {
    const provider = await openFolder()
    service!.hang()
    const began = performance.now()
    expect(await refusal(provider.createGeneration(keyring, 0))).toMatch(/^kms_unreachable: .*imeout/)
    expect(performance.now() - began).toBeLessThan(20_000)
    const again = performance.now()
    expect(await refusal(provider.createGeneration(keyring, 1))).toMatch(/^kms_unreachable/)
    expect(performance.now() - again).toBeLessThan(1_000)
  })
})

const never = () => Promise.reject(new Error('the database is not asked'))

describe.skipIf(service === null)('rewrapping', () => {
  const secret = randomBytes(32)
  const wrapped: Buffer[] = []
  let rootKey: string
  let rootCheck: string

  /** A folder that opens by itself, with three generations of which one is destroyed. */
  async function fileFolder(): Promise<void> {
    const provider = await openKeyFolder({ folder, mayCreateRoot: true })
    rootCheck = provider.rootCheck
    rootKey = (await readFile(join(folder, 'root.key'), 'utf8')).trim()
    for (const n of [0, 1, 2]) {
      await provider.createGeneration(keyring, n)
      wrapped[n] = await provider.wrap(keyring, n, where, secret)
    }
    wrapped[3] = await provider.wrapUnderRoot(where, secret)
    await provider.destroyGeneration(keyring, 1)
  }

  async function opens(provider: KeyProvider): Promise<void> {
    expect(provider.rootCheck).toBe(rootCheck)
    expect(await provider.generations(keyring)).toEqual([0, 2])
    for (const n of [0, 2]) expect(await provider.unwrap(keyring, n, where, wrapped[n]!)).toEqual(secret)
    expect(await provider.unwrapUnderRoot(where, wrapped[3]!)).toEqual(secret)
    expect(await refusal(provider.unwrap(keyring, 1, where, wrapped[1]!))).toContain('key_destroyed')
  }

  const rewrap = async (options: Partial<RewrapOptions> = {}, kms = settings()) =>
    rewrapFolder({
      folder,
      kms: await Kms.connect(kms),
      deployment: async () => ({ logName: log, rootCheck }),
      ...options,
    })

  test('moves a folder that opened by itself, cut off after any step; no clear key is left', async () => {
    for (let cut = 1; cut <= 4; cut++) {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder)
      await fileFolder()
      const clear = Object.values(await contents()).filter(({ length }) => length === 60)
      expect(await refusal(openFolder())).toContain('affidavit keys rewrap')
      let left = cut
      const onStep = () => {
        if (--left === 0) throw new Error('killed')
      }
      await expect(rewrap({ onStep })).rejects.toThrow('killed')
      // Until it is finished no server starts, whichever way.
      expect(await refusal(openKeyFolder({ folder, mayCreateRoot: true }))).toContain('AFFIDAVIT_KMS_KEY')
      if (cut < 4) expect(await refusal(openFolder())).toContain('finish with affidavit keys rewrap')
      const done = await rewrap()
      expect([done.moved + done.kept, done.migrated]).toEqual([3, cut < 4])
      expect(await rewrap()).toEqual({ migrated: false, moved: 0, kept: 3 })
      await opens(await openFolder({ logName: log, mayCreateRoot: false }))
      for (const [path, bytes] of Object.entries(await contents())) {
        expect(bytes.toString('latin1')).not.toContain(rootKey)
        for (const old of clear) expect([path, bytes.includes(old)]).toEqual([path, false])
      }
    }
  })

  test('refuses a folder that is not the database’s, and takes a root from the environment', async () => {
    await fileFolder()
    await expect(rewrap({ deployment: async () => ({ logName: log, rootCheck: '00' }) })).rejects.toThrow(
      'not the one this database was started with',
    )
    expect(await readdir(folder)).not.toContain('root.kms')
    await unlink(join(folder, 'root.key'))
    expect(await rewrap({ rootKey })).toEqual({ migrated: true, moved: 3, kept: 0 })
    await opens(await openFolder())
  })

  test('moves to another key while servers go on, by an alias or by name; the old one can then go', async () => {
    await fileFolder()
    const alias = `alias/${randomBytes(4).toString('hex')}`
    const [now, before] = [await service!.key(alias), await service!.key(`${alias}-old`)]
    await rewrap({}, settings(alias))
    const running = await openFolder({ kms: settings(alias, `${alias}-old`) })
    await opens(running)
    await service!.moveAlias(`${alias}-old`, now)
    const next = await service!.key()
    await service!.moveAlias(alias, next)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_001 })
    const kms = await Kms.connect(settings(alias, `${alias}-old`))
    expect([kms.wrapping, kms.retiring]).toEqual([next, [now]])
    expect(await countUnder(folder, now)).toBe(3)
    await running.createGeneration(keyring, 3)
    expect(await rewrapFolder({ folder, kms, deployment: never })).toEqual({ migrated: false, moved: 3, kept: 1 })
    expect(await countUnder(folder, now)).toBe(0)
    expect(await running.generations(keyring)).toEqual([0, 2, 3])
    for (const n of [0, 2]) expect(await running.unwrap(keyring, n, where, wrapped[n]!)).toEqual(secret)
    const until = await kms.scheduleDeletion(now, 7)
    expect(until.getTime()).toBeGreaterThan(Date.now())
    expect(await kms.scheduleDeletion(now, 7)).toEqual(until)
    expect(await service!.stateOf(now)).toBe('PendingDeletion')
    expect(await service!.stateOf(before)).toBe('Enabled')
    // A start with a retired key beside the new one is nothing special.
    expect((await openFolder({ kms: settings(alias, now, 'alias/never-was') })).rootCheck).toBe(rootCheck)
  })

  test('brings no generation back that is destroyed at the same moment', async () => {
    await fileFolder()
    await rewrap()
    const server = await openFolder()
    const next = await service!.key()
    const kms = await Kms.connect(settings(next, key))
    const unwrap = kms.unwrap.bind(kms)
    // Destroyed after it was read, before it is replaced; and another one right after.
    kms.unwrap = async (blob, context, at) => {
      if (context.generation === '0') await server.destroyGeneration(keyring, 0)
      return unwrap(blob, context, at)
    }
    await rewrapFolder({ folder, kms, deployment: never })
    await (await openFolder({ kms: settings(next) })).destroyGeneration(keyring, 2)
    expect(await readFile(file(`${keyring}.0`))).toHaveLength(0)
    expect(await readFile(file(`${keyring}.2`))).toHaveLength(0)
    expect(await (await openFolder({ kms: settings(next) })).generations(keyring)).toEqual([])
  })
})
