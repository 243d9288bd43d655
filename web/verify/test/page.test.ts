// The page in a real browser: packs dropped on it, good, flipped, truncated, tampered. Skipped, with a notice, where there
// is no Chromium.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { type Payload, writePack } from '@affidavit/trail'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { hasOpenssl, startTimestampAuthority } from '../../../server/test/timestamp-authority.ts'
import { nodeSha256 } from '../../../trail/test/node-hash.ts'
import { REGISTRY_VKEY, registryMembers, WITNESSES } from '../../../trail/test/packed-registry.ts'
import { timestampMembers } from '../../../trail/test/packed-timestamp.ts'
import {
  ascii,
  collect,
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  ORIGIN,
  seededKey,
  signedCheckpoint,
  sourceOf,
} from '../../../trail/test/sample-trail.ts'

const executablePath = process.env.AFFIDAVIT_CHROMIUM ?? '/usr/bin/chromium'
const built = new URL('../../../server/dist/verifier/', import.meta.url)
const root = join(import.meta.dirname, '../../..')
/** Where screenshots go, for people to look at; nowhere by default. */
const shots = process.env.AFFIDAVIT_SCREENSHOTS

const hasBrowser = existsSync(executablePath)
if (!hasBrowser) console.warn(`notice: ${executablePath} is not there; the page of the verifier is not tested`)

const SIZE = 600
const trail = makeTrail(Array.from({ length: SIZE }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))

async function packOf(edit: (payload: Payload) => Payload = (payload) => payload): Promise<Uint8Array> {
  const members = await registryMembers(trail, { size: SIZE, packed: SIZE })
  const manifest = manifestOf(trail, { optional: [...members.keys()] })
  const source = await sourceOf(trail, manifest, {
    content: (seqs) => seqs.map((seq) => edit(trail.payloads[seq]!)),
    optional: async (path) => ascii.encode(members.get(path)!),
  })
  return collect(writePack(nodeSha256, manifest, source))
}

let folder: string
const at = (name: string) => join(folder, name)

beforeAll(async () => {
  await promisify(execFile)(process.execPath, ['web/verify/build.ts'], { cwd: root })
  folder = await mkdtemp(join(tmpdir(), 'affidavit-page-'))
  const good = await packOf()
  await writeFile(at('good.affidavit.zip'), good)
  await writeFile(at('flipped.zip'), good.with(Math.floor(good.length / 3), good[Math.floor(good.length / 3)]! ^ 1))
  await writeFile(at('truncated.zip'), good.slice(0, good.length - 1000))
  await writeFile(at('photo.zip'), 'PK but no pack')
  const edited = await packOf((payload) =>
    [41, 277].includes(payload.seq)
      ? { ...payload, facts: { ...payload.facts!, content: '{"action":"\u202einnocent<img src=x>"}' } }
      : payload,
  )
  await writeFile(at('tampered.zip'), edited)
  if (shots !== undefined) await mkdir(shots, { recursive: true })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('the verifier in one file', () => {
  test.each<[string, string[], number, string]>([
    ['a good pack', ['good.affidavit.zip'], 0, 'HELD, tamper-detecting only'],
    ['with its key', ['good.affidavit.zip', '--vkey', LOG.vkey], 0, 'HELD: the trail is what was sealed'],
    [
      'with witnesses',
      ['good.affidavit.zip', ...WITNESSES.flatMap(({ vkey }) => ['--witness', vkey]), '--quorum', '2'],
      0,
      'HELD: the trail is what was sealed',
    ],
    ['a tampered one', ['tampered.zip'], 1, 'TAMPERED: the first wrong entry is 41.'],
    ['a truncated one', ['truncated.zip'], 2, 'could not be checked'],
    ['nothing', [], 2, 'node affidavit-verify.mjs PACK.zip'],
    ['an age that is none', ['good.affidavit.zip', '--max-age', '3'], 2, '--max-age: A duration such as'],
    ['an unknown option', ['good.affidavit.zip', '--depp'], 2, '--help tells what there is.'],
  ])('%s', async (_name, args, code, sentence) => {
    const program = join(built.pathname, 'affidavit-verify.mjs')
    const ran = await promisify(execFile)(process.execPath, [program, ...args], { cwd: folder }).then(
      ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    )
    expect(ran.code).toBe(code)
    expect(ran.stdout + ran.stderr).toContain(sentence)
  })

  test('imports nothing but Node', async () => {
    const text = await readFile(new URL('affidavit-verify.mjs', built), 'utf8')
    const imports = [...text.matchAll(/^import\b.*?from ["']([^"']+)["']|\bimport\(["']([^"']+)["']\)/gm)]
    expect(imports.length).toBeGreaterThan(2)
    for (const [, name, dynamic] of imports) expect(name ?? dynamic).toMatch(/^node:/)
    expect(text).not.toMatch(/\bfetch\(|node:https?|node:net/)
  })
})

describe.skipIf(!hasBrowser)('the page', () => {
  let browser: Browser
  let page: Page
  let asked: string[] = []
  let errors: string[] = []

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
    page = await browser.newPage({ viewport: { width: 900, height: 1000 } })
    page.on('request', (request) => asked.push(request.url()))
    page.on('pageerror', (error) => errors.push(error.message))
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()))
  })
  afterAll(() => browser?.close())
  beforeEach(async () => {
    // Another document in between: whoever loads a page again may find what was filled in.
    await page.goto('about:blank')
    asked = []
    errors = []
    await page.goto(pathToFileURL(join(built.pathname, 'index.html')).href)
  })
  afterEach(() => {
    expect(errors).toEqual([])
    // The page itself, its icon, its worker: nothing that goes anywhere.
    expect(asked.filter((url) => !/^(file|blob|data):/.test(url))).toEqual([])
  })

  const choose = (name: string) => page.setInputFiles('#file', at(name))
  const verdict = () => page.locator('#verdict').textContent({ timeout: 60_000 })
  const shot = async (name: string) => {
    if (shots === undefined) return
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      await page.screenshot({ path: join(shots, `${name}-${colorScheme}.png`), fullPage: true })
    }
  }

  test('a good pack that is dropped agrees with itself; with the key from outside it holds', async () => {
    await shot('start')
    const bytes = (await readFile(at('good.affidavit.zip'))).toString('base64')
    await page.evaluate(async (base64) => {
      const transfer = new DataTransfer()
      const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
      transfer.items.add(new File([content], 'good.affidavit.zip'))
      document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }))
    }, bytes)
    expect(await verdict()).toBe('This log agrees with itself')
    expect(await page.locator('ul.checks li.held').count()).toBe(7)
    expect(await page.textContent('#result')).toContain('Registry epoch 8')
    await shot('limited')
    await page.click('#bring')
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('vkeys')
    await page.fill('#vkeys', LOG.vkey)
    await page.click('#again')
    await page.locator('.banner.held').waitFor()
    expect(await verdict()).toBe('This log holds')
    expect(await page.textContent('.banner')).toContain('Only who holds the signing key could have written it anew')
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('verdict')
    await shot('held')
  })

  test('witnesses of a policy, and a checkpoint kept earlier, are outside proofs', async () => {
    const witnesses = WITNESSES.map(({ vkey }) => vkey)
    const policy = [
      `log ${REGISTRY_VKEY}`,
      ...witnesses.map((vkey, n) => `witness w${n} ${vkey}`),
      'group two 2 w0 w1 w2',
      'quorum two',
    ]
    await page.click('summary')
    await page.fill('#policy', policy.join('\n'))
    await choose('good.affidavit.zip')
    expect(await verdict()).toBe('This log holds')
    expect(await page.textContent('#result')).toContain('Cosigned by')
    expect(await page.textContent('.banner')).toContain('it agrees with what you brought from outside')
    await page.fill('#policy', '')
    await writeFile(at('kept.txt'), await signedCheckpoint(trail, 123))
    await page.setInputFiles('#checkpoint-file', at('kept.txt'))
    await expect.poll(() => page.inputValue('#checkpoint')).toContain(ORIGIN)
    await page.click('#again')
    await page.locator('.banner.held').waitFor()
    expect(await page.locator('ul.checks li.held').count()).toBe(9)
  })

  test.skipIf(!hasOpenssl)(
    'an authority that stamped the registry is named, with the time; a stranger leaves it open',
    async () => {
      const [authority, stranger] = [await startTimestampAuthority(), await startTimestampAuthority({ keys: 'rsa' })]
      try {
        const members = await timestampMembers(trail, { n: 3, size: 500, packed: SIZE, authority })
        for (const [path, text] of await registryMembers(trail, { size: 500, packed: SIZE }))
          members.set(path, new TextEncoder().encode(text))
        const manifest = manifestOf(trail, { optional: [...members.keys()] })
        const source = await sourceOf(trail, manifest, { optional: async (path) => members.get(path)! })
        await writeFile(at('stamped.zip'), await collect(writePack(nodeSha256, manifest, source)))
        await writeFile(at('ca.pem'), authority.ca)
        await page.click('summary')
        await page.setInputFiles('#authorities-file', at('ca.pem'))
        await expect.poll(() => page.inputValue('#authorities')).toContain('BEGIN CERTIFICATE')
        await choose('stamped.zip')
        expect(await verdict()).toBe('This log holds')
        expect(await page.textContent('#result')).toMatch(/Test tsa, 20\S+Z ± 1 s: the first 500 entries/)
        await shot('stamped')
        await page.fill('#authorities', stranger.ca)
        await page.click('#again')
        await page.locator('.banner.open').waitFor()
        expect(await verdict()).toBe('Not everything could be checked')
      } finally {
        await Promise.all([authority.stop(), stranger.stop()])
      }
    },
  )

  test('a key that did not sign is evidence; one that cannot be read accuses nobody', async () => {
    await page.click('summary')
    await page.fill('#vkeys', seededKey(ORIGIN, 'other').vkey)
    await choose('good.affidavit.zip')
    expect(await verdict()).toBe('This log was tampered with')
    expect(await page.textContent('.banner')).toContain('Compare that key with where it came from first')
    await shot('other-key')
    await page.fill('#vkeys', 'nonsense')
    await page.click('#again')
    await page.locator('.banner.open').waitFor()
    expect(await verdict()).toBe('What you brought cannot be read')
  })

  test('a tampered pack: the first wrong entry is named, hostile text stays text', async () => {
    await choose('tampered.zip')
    expect(await verdict()).toBe('This log was tampered with')
    expect(await page.textContent('.banner')).toContain('The first wrong entry is number 41.')
    expect(await page.locator('tbody tr').count()).toBe(2)
    expect(await page.locator('#result img').count()).toBe(0)
    await shot('tampered')
  })

  test.each(['flipped.zip', 'truncated.zip', 'photo.zip'])(
    '%s could not be checked, which is no verdict',
    async (name) => {
      await choose(name)
      expect(await verdict()).toBe('This file could not be checked')
      expect(await page.textContent('.banner')).toContain('That says nothing about the log.')
      if (name === 'truncated.zip') await shot('refused')
    },
  )

  test('is usable with the keyboard alone and named for screen readers', async () => {
    await page.keyboard.press('Tab')
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('file')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    expect(await page.locator('#vkeys').isVisible()).toBe(true)
    await page.keyboard.press('Tab')
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('vkeys')
    for (const name of [
      'Evidence pack, a ZIP file',
      'Verifier key',
      'Checkpoint kept earlier',
      'Witness policy',
      'Timestamp authority',
    ])
      expect(await page.getByLabel(name).count(), name).toBeGreaterThan(0)
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Verify an audit log')
  })

  test('may connect to nothing: the policy forbids it', async () => {
    const blocked = await page.evaluate(() =>
      fetch('https://example.com/').then(
        () => 'sent',
        () => 'blocked',
      ),
    )
    expect(blocked).toBe('blocked')
    expect(errors.join()).toMatch(/Content Security Policy/)
    errors.length = 0
  })
})
