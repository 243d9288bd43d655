// Checkpoints in a write-once bucket, under a timestamp, in a mailbox and at a webhook: real servers, right and wrong
// answers. The registry log is written straight into the database.
import { execFileSync } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { SMTPServer } from 'smtp-server'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Anchors } from '../src/anchor/anchors.ts'
import { isPrivateAddress, Outbound } from '../src/anchor/outbound.ts'
import { openPlaces } from '../src/anchor/places.ts'
import { parseAnchors, readAnchors } from '../src/anchor/settings.ts'
import { type AnchorState, readStates } from '../src/anchor/states.ts'
import {
  makeNonce,
  readCertificates,
  TimestampRefused,
  timestampRequest,
  verifyTimestamp,
} from '../src/anchor/timestamp.ts'
import { silent } from '../src/store/log.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { startS3 } from './s3.ts'
import { TestRegistry } from './test-registry.ts'
import { hasOpenssl, startTimestampAuthority, type TimestampAuthority } from './timestamp-authority.ts'

const s3 = await startS3()
let database: TestDatabase
let registry: TestRegistry
let folder: string
let authority: TimestampAuthority
let anchors: Anchors | undefined

beforeAll(async () => {
  database = await freshDatabase()
  if (hasOpenssl) authority = await startTimestampAuthority()
})

afterAll(async () => {
  await s3?.stop()
  await authority?.stop()
  await database.drop()
})

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-anchors-'))
  registry = new TestRegistry(database.superuser)
})

afterEach(async () => {
  await anchors?.stop()
  anchors = undefined
  await database.superuser.query(
    `truncate affidavit.registry_notes, affidavit.registry_epochs, affidavit.registry_tiles,
       affidavit.registry_cosignatures, affidavit.anchors, affidavit.anchored`,
  )
  await rm(folder, { recursive: true, force: true })
})

/** Starts on a file of anchors; every second is a turn. */
async function start(...settings: object[]): Promise<void> {
  const file = join(folder, 'anchors.json')
  await writeFile(file, JSON.stringify({ anchors: settings.map((one) => ({ every: '1s', ...one })) }))
  const outbound = new Outbound()
  anchors = new Anchors({
    pool: database.store.pool('notary'),
    session: () => database.store.dedicated('notary'),
    log: silent,
    policy: null,
    places: await openPlaces(await readAnchors(file), outbound),
    outbound,
    interval_ms: 50,
    retry_ms: 200,
  })
  anchors.start()
}

async function until(name: string, wanted: (state: AnchorState) => boolean): Promise<AnchorState> {
  let last: AnchorState | undefined
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    last = (await readStates(database.store.pool('notary'))).find((state) => state.name === name)
    if (last !== undefined && wanted(last)) return last
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  throw new Error(`${name} stays ${JSON.stringify(last)}`)
}

interface Row {
  readonly size: number
  readonly public: boolean
  readonly note: string
  readonly token: Buffer | null
  readonly details: Record<string, string>
}

const anchored = async () =>
  (await database.superuser.query<Row>('select size, public, note, token, details from affidavit.anchored order by id'))
    .rows

describe.skipIf(s3 === null)('a write-once bucket', () => {
  const settings = async (lock: boolean, more: object = {}) => {
    const { bucket, endpoint, region, credentials } = await s3!.bucket({ lock })
    const { accessKeyId: access_key_id, secretAccessKey: secret_access_key } = credentials!
    return { name: 'worm', kind: 'bucket', bucket, endpoint, region, access_key_id, secret_access_key, ...more }
  }

  test('keeps each checkpoint, and nobody can delete it before its time', async () => {
    const worm = await settings(true, { prefix: 'audit/', retain_days: 30 })
    const note = await registry.append(3)
    await start(worm)
    await until('worm', ({ size }) => size === 3)
    const [row] = await anchored()
    expect(row).toMatchObject({ size: 3, public: true, note, details: { bucket: worm.bucket } })
    const { key, version_id, retain_until } = row!.details
    expect(key).toMatch(/^audit\/log\.test\/registry\/\d{4}\/\d\d\/\d\d\/epoch-0000000003-size-3\.checkpoint$/)
    expect(Math.round((Date.parse(retain_until!) - Date.now()) / 86_400_000)).toBe(30)
    const version = { Bucket: worm.bucket, Key: key!, VersionId: version_id! }
    await expect(s3!.client.send(new DeleteObjectCommand(version))).rejects.toThrow()
    const bypass = new DeleteObjectCommand({ ...version, BypassGovernanceRetention: true })
    await expect(s3!.client.send(bypass)).rejects.toThrow()
    const { Body } = await s3!.client.send(new GetObjectCommand(version))
    expect(await Body!.transformToString()).toBe(note)
    await registry.append()
    await until('worm', ({ size }) => size === 4)
    expect(await anchored()).toHaveLength(2)
  })

  test('that ignores the lock is alarmed', async () => {
    await registry.append()
    await start(await settings(false))
    const state = await until('worm', ({ failures }) => failures > 0)
    expect(state.size).toBeNull()
    expect(await anchored()).toEqual([])
  })

  test("of somebody else's takes plain copies; a crash before it was noted finds the copy there", async () => {
    const plain = await settings(false, { lock: 'none', public: false })
    const note = await registry.append(2)
    await start(plain)
    await until('worm', ({ size }) => size === 2)
    await anchors!.stop()
    await database.superuser.query('truncate affidavit.anchors, affidavit.anchored')
    await start(plain)
    await until('worm', ({ size }) => size === 2)
    expect(await anchored()).toMatchObject([{ note, public: false, details: { retain_until: null } }])
  })

  test('in which something else stands in the place is alarmed', async () => {
    const plain = await settings(false, { lock: 'none' })
    await registry.append()
    const day = new Date().toISOString().slice(0, 10).replaceAll('-', '/')
    const Key = `${registry.origin}/${day}/epoch-0000000001-size-1.checkpoint`
    await s3!.client.send(new PutObjectCommand({ Bucket: plain.bucket, Key, Body: 'a forgery' }))
    await start(plain)
    expect(await until('worm', ({ isWrong }) => isWrong)).toMatchObject({
      error: expect.stringContaining('another object'),
    })
  })

  test('that is not there is tried again', async () => {
    await registry.append()
    await start({ ...(await settings(false)), bucket: 'no-such-bucket' })
    const state = await until('worm', ({ failures }) => failures > 1)
    expect(state).toMatchObject({ isWrong: false, error: expect.stringMatching(/bucket/i) })
  })
})

describe.skipIf(!hasOpenssl)('a timestamp authority', () => {
  test('vouches for the time of the checkpoint, as openssl agrees', async () => {
    await writeFile(join(folder, 'ca.pem'), authority.ca)
    const note = await registry.append(7)
    await start({ name: 'tsa', kind: 'timestamp', url: authority.url, ca_file: 'ca.pem' })
    await until('tsa', ({ size }) => size === 7)
    const [row] = await anchored()
    expect(row).toMatchObject({ note, public: true, details: { policy: '1.3.6.1.4.1.32473.1' } })
    expect(Math.abs(Date.parse(row!.details.time!) - Date.now())).toBeLessThan(60_000)
    await writeFile(join(folder, 'checkpoint'), row!.note)
    await writeFile(join(folder, 'token.tsr'), row!.token!)
    const args = ['ts', '-verify', '-data', 'checkpoint', '-in', 'token.tsr', '-CAfile', 'ca.pem']
    expect(String(execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' }))).toContain('OK')
  })

  test('that answers wrongly is alarmed', async () => {
    await writeFile(join(folder, 'ca.pem'), authority.ca)
    await registry.append()
    const other = await authority.reply(timestampRequest(Buffer.from('something else'), makeNonce()))
    authority.tamper = () => other
    try {
      await start({ name: 'tsa', kind: 'timestamp', url: authority.url, ca_file: 'ca.pem' })
      expect((await until('tsa', ({ isWrong }) => isWrong)).error).toContain('another document')
    } finally {
      authority.tamper = undefined
    }
    await until('tsa', ({ size }) => size === 1) // tried again by itself
  })

  describe('whose token is checked', () => {
    const document = Buffer.from('a document')
    const nonce = makeNonce()
    const trusted = () => readCertificates(authority.ca)
    const ask = () => authority.reply(timestampRequest(document, nonce))
    const code = (work: Promise<unknown>) =>
      work.then(
        () => 'held',
        (error: { code?: string }) => error.code,
      )

    test('holds for this document and request', async () => {
      const { time } = await verifyTimestamp(await ask(), document, trusted(), nonce)
      expect(Math.abs(time.getTime() - Date.now())).toBeLessThan(60_000)
    })

    test('is refused for another document, another request, another root', async () => {
      const token = await ask()
      expect(await code(verifyTimestamp(token, Buffer.from('another'), trusted(), nonce))).toBe('other_document')
      expect(await code(verifyTimestamp(token, document, trusted(), makeNonce()))).toBe('other_nonce')
      expect(await code(verifyTimestamp(token, document, [], nonce))).toBe('untrusted')
      const stranger = await startTimestampAuthority()
      expect(await code(verifyTimestamp(token, document, readCertificates(stranger.ca), nonce))).toBe('untrusted')
      await stranger.stop()
    })

    test('is refused when somebody else under the same root signed it, or when it names no certificate', async () => {
      const genuine = await ask()
      const held = await authority.resign(genuine, 'tsa', true)
      expect(await code(verifyTimestamp(held, document, trusted(), nonce))).toBe('held')
      const byAnother = await authority.resign(genuine, 'server', true)
      expect(await code(verifyTimestamp(byAnother, document, trusted(), nonce))).toBe('bad_purpose')
      const unnamed = await authority.resign(genuine, 'tsa', false)
      expect(await code(verifyTimestamp(unnamed, document, trusted(), nonce))).toBe('bad_purpose')
    })

    test('says the same, or is refused, after any change of a byte', async () => {
      const token = await ask()
      const { time } = await verifyTimestamp(token, document, trusted(), nonce)
      const step = process.env.AFFIDAVIT_LONG ? 13 : 67
      let held = 0
      for (let at = 0; at < token.length; at += step) {
        const changed = Buffer.from(token)
        changed[at]! ^= 0x01
        // Some bytes are under no signature, such as the status' text or a certificate that is not needed.
        const outcome = await verifyTimestamp(changed, document, trusted(), nonce).catch((error: Error) => error)
        if (!('time' in outcome)) expect(outcome).toBeInstanceOf(TimestampRefused)
        else {
          expect(outcome.time).toEqual(time)
          held++
        }
      }
      expect(held).toBeLessThan(token.length / step / 2)
    })

    test('is refused when it is cut off, empty or something else', async () => {
      const token = await ask()
      for (const bytes of [
        Buffer.alloc(0),
        token.subarray(0, token.length - 1),
        Buffer.from('hello'),
        randomBytes(500),
      ])
        expect(await code(verifyTimestamp(bytes, document, trusted(), nonce))).toMatch(/malformed|rejected/)
    })
  })
})

test('a bucket that refuses connections fails for itself, and is tried again ever more seldom', async () => {
  await registry.append()
  const endpoint = 'http://127.0.0.1:1'
  await start({
    name: 'away',
    kind: 'bucket',
    bucket: 'copies',
    region: 'x',
    endpoint,
    access_key_id: 'a',
    secret_access_key: 'b',
  })
  expect(await until('away', ({ failures }) => failures > 1)).toMatchObject({
    error: expect.stringContaining('ECONNREFUSED'),
  })
})

test('a mailbox gets the checkpoint as text and as a file', async () => {
  const mails: { from: string; to: string[]; text: string }[] = []
  const server = new SMTPServer({
    disabledCommands: ['STARTTLS', 'AUTH'],
    onData(stream, session, done) {
      let text = ''
      stream.on('data', (chunk: Buffer) => (text += chunk))
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope
        mails.push({ from: (mailFrom as { address: string }).address, to: rcptTo.map(({ address }) => address), text })
        done()
      })
    },
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  const { port } = server.server.address() as AddressInfo
  try {
    const note = await registry.append(5)
    const to = ['audit@customer.test', 'second@customer.test']
    await start({ name: 'mail', kind: 'mailbox', smtp_url: `smtp://127.0.0.1:${port}`, from: 'log@vendor.test', to })
    await until('mail', ({ size }) => size === 5)
    expect(mails).toHaveLength(1)
    expect(mails[0]).toMatchObject({ from: 'log@vendor.test', to })
    expect(mails[0]!.text).toContain('Subject: Audit log checkpoint: log.test/registry, epoch 5')
    const attached = /Content-Disposition: attachment[\s\S]*?\r\n\r\n([\s\S]*?)\r\n-/.exec(mails[0]!.text)![1]!
    expect(decodeMail(mails[0]!.text, attached)).toBe(note)
    expect(await anchored()).toMatchObject([{ public: false }])
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
  await registry.append()
  expect(await until('mail', ({ failures }) => failures > 0)).toMatchObject({
    error: expect.stringContaining('ECONNREFUSED'),
  })
})

function decodeMail(mail: string, part: string): string {
  const headers = mail.slice(mail.lastIndexOf('Content-Type', mail.indexOf(part)), mail.indexOf(part))
  if (/base64/.test(headers)) return String(Buffer.from(part, 'base64'))
  const text = part.replaceAll(/=\r\n/g, '').replaceAll('\r\n', '\n')
  const bytes = text.replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return `${String(Buffer.from(bytes, 'latin1')).trimEnd()}\n`
}

test('a webhook gets the checkpoint signed by Standard Webhooks; every try of one has one id', async () => {
  const secret = `whsec_${randomBytes(32).toString('base64')}`
  const seen: { id: string; good: boolean; body: string }[] = []
  let status = 500
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk))
    request.on('end', () => {
      const [id, time, signature] = ['id', 'timestamp', 'signature'].map((name) =>
        String(request.headers[`webhook-${name}`]),
      )
      const key = Buffer.from(secret.slice(6), 'base64')
      const right = `v1,${createHmac('sha256', key).update(`${id}.${time}.${body}`).digest('base64')}`
      seen.push({ id: id!, good: signature === right && Math.abs(Number(time) - Date.now() / 1000) < 60, body })
      response.writeHead(status).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
  try {
    const note = await registry.append(2)
    await start({ name: 'hook', kind: 'webhook', url, secret, allow_private_addresses: true })
    expect((await until('hook', ({ failures }) => failures > 1)).error).toBe('the webhook answers 500')
    status = 204
    await until('hook', ({ size }) => size === 2)
    expect(seen.length).toBeGreaterThan(2)
    expect(new Set(seen.map(({ id }) => id)).size).toBe(1)
    expect(seen.every(({ good }) => good)).toBe(true)
    const { type, data } = JSON.parse(seen[0]!.body)
    expect({ type, data }).toMatchObject({ type: 'registry.checkpoint', data: { epoch: 2, size: 2, checkpoint: note } })
    await anchors!.stop()
    const before = seen.length
    await registry.append()
    await start({ name: 'hook', kind: 'webhook', url: url.replace('127.0.0.1', 'localhost'), secret })
    expect((await until('hook', ({ error }) => error !== null)).error).toContain('no public address')
    expect(seen.length).toBe(before)
  } finally {
    server.close()
    server.closeAllConnections()
  }
})

test('addresses that lead into networks of our own are private', () => {
  const privates =
    '127.0.0.1 10.1.2.3 172.31.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255'
  const six =
    '::1 :: ::ffff:127.0.0.1 ::ffff:8.8.8.8%eth0 fe80::1 fc00::1 fd12::1 ff02::1 64:ff9b::7f00:1 2002:7f00:1:: 2001:db8::1'
  for (const address of `${privates} ${six.replace('::ffff:8.8.8.8%eth0 ', '')} nonsense`.split(' '))
    expect(isPrivateAddress(address), address).toBe(true)
  for (const address of ['8.8.8.8', '172.32.0.1', '193.0.0.1', '2606:4700::1111', '::ffff:8.8.8.8'])
    expect(isPrivateAddress(address), address).toBe(false)
})

describe('the file of anchors', () => {
  const problems = (file: unknown) => {
    const found: string[] = []
    parseAnchors(typeof file === 'string' ? file : JSON.stringify(file), found)
    return found
  }
  const bucket = { name: 'worm', kind: 'bucket', bucket: 'audit' }

  test('says where every mistake is', () => {
    expect(problems({ anchors: [bucket] })).toEqual([])
    expect(problems('{')[0]).toContain('it is not JSON')
    expect(problems({})).toEqual(['/anchors: a list of anchors is needed'])
    expect(problems([])).toEqual(['/anchors: a list of anchors is needed'])
    expect(problems({ anchors: [], other: 1 })).toEqual(['/other: there is no such setting'])
    expect(problems({ anchors: [null, { kind: 'floppy' }] })).toEqual([
      '/anchors/0/kind: one of bucket, timestamp, mailbox, webhook is needed',
      '/anchors/1/kind: one of bucket, timestamp, mailbox, webhook is needed',
    ])
    expect(
      problems({ anchors: [{ name: 'A', kind: 'timestamp', url: 'ftp://x', colour: 1, every: '1w' }] }).toSorted(),
    ).toEqual([
      '/anchors/0/ca_file: is missing',
      '/anchors/0/colour: there is no such setting for timestamp',
      '/anchors/0/every: must be a span like 15m, 1h or 1d',
      '/anchors/0/name: must be a-z, 0-9, _ and -, at most 40',
      '/anchors/0/url: must be an http or https URL',
    ])
    expect(problems({ anchors: [bucket, bucket] })).toEqual(['/anchors/1/name: another anchor has this name'])
    expect(problems({ anchors: [{ ...bucket, access_key_id: 'x' }] })).toEqual([
      '/anchors/0/secret_access_key: access_key_id and secret_access_key belong together',
    ])
    expect(problems({ anchors: [{ ...bucket, lock: 'none', retain_days: 3 }] })).toEqual([
      '/anchors/0/retain_days: nothing is retained with lock "none"',
    ])
  })

  test('of the documentation is right', () => {
    const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'operating', 'anchors.md'), 'utf8')
    const [, file] = /^```json\n(.*?)^```$/ms.exec(page)!
    const found: string[] = []
    expect(parseAnchors(file!, found).map(({ kind }) => kind)).toEqual([
      'bucket',
      'timestamp',
      'bucket',
      'mailbox',
      'webhook',
    ])
    expect(found).toEqual([])
  })

  test('takes secrets from files, and refuses what turns out unusable', async () => {
    const file = join(folder, 'anchors.json')
    const write = (...anchors: object[]) => writeFile(file, JSON.stringify({ anchors }))
    await writeFile(join(folder, 'secret'), 'geheim\n')
    await write({ ...bucket, access_key_id: 'x', secret_access_key: { file: 'secret' }, every: '15m' })
    expect(await readAnchors(file)).toEqual([
      { ...bucket, access_key_id: 'x', secret_access_key: 'geheim', every_ms: 900_000 },
    ])
    await write({ ...bucket, access_key_id: 'x', secret_access_key: { file: 'absent' } })
    await expect(readAnchors(file)).rejects.toThrow('/anchors/0: absent cannot be read (ENOENT)')
    await expect(readAnchors(join(folder, 'absent.json'))).rejects.toThrow('cannot be read (ENOENT)')
    const outbound = new Outbound()
    const bad = async (one: object) => {
      await write(one)
      return openPlaces(await readAnchors(file), outbound)
    }
    const mail = { name: 'm', kind: 'mailbox', from: 'a@b.test', to: ['c@d.test'] }
    await expect(bad({ ...mail, smtp_url: 'http://x' })).rejects.toThrow('anchor m: smtp_url must be like')
    await expect(bad({ name: 'h', kind: 'webhook', url: 'https://x.test', secret: 'abc' })).rejects.toThrow('whsec_')
    await writeFile(join(folder, 'ca.pem'), 'no certificate')
    const tsa = { name: 't', kind: 'timestamp', url: 'https://x.test', ca_file: 'ca.pem' }
    await expect(bad(tsa)).rejects.toThrow('holds no certificate')
  })
})
