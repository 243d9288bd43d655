/**
 * The main job on real input: public audit logs come in through the importer, are searched, and are proven.
 *
 * What is expected is computed here from the raw files, without the importer's mapping and without the server. With
 * AFFIDAVIT_LONG=1 the whole ransomware file goes in, else its first 1,500 records.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import { PackReader, parseVkey, verifyEd25519, verifyPack } from '@affidavit/trail'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formats, runImport } from '../../cli/src/import/index.ts'
import { type Affidavit, createAffidavit, type StoredEvent } from '../../sdk/src/index.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { type StartedServer, startedServer } from './started-server.ts'

const root = join(import.meta.dirname, '..', '..')
const folder = join(root, '..', 'shared', 'data')
const haveSamples = existsSync(folder)
if (!haveSamples) console.warn(`Skipped: the public samples are not at ${folder}`)
const havePython = spawnSync('python3', ['--version']).status === 0
if (!havePython) console.warn('Skipped: the checker in Python, because python3 is missing')
const isLong = process.env.AFFIDAVIT_LONG === '1'
/** Runs a program where there is no network at all, not even the machine's own; users that may not have one need a name space. */
const offline = [['-n'], ['-rn']].find((flags) => spawnSync('unshare', [...flags, 'true']).status === 0)
if (offline === undefined)
  console.warn('Skipped: the verifier with the network off, because unshare is not allowed here')

interface Raw {
  readonly eventName: string
  readonly eventSource: string
  readonly eventTime: string
  readonly sourceIPAddress: string
  readonly userIdentity: { readonly arn?: string }
  readonly eventType?: string
  readonly eventtype?: string
  readonly client?: { readonly ipAddress?: string }
}

interface Sample {
  readonly tenant: string
  readonly format: 'cloudtrail' | 'okta'
  readonly lines: readonly string[]
  readonly records: readonly Raw[]
}

function sample(tenant: string, format: Sample['format'], file: string, most = Number.POSITIVE_INFINITY): Sample {
  const text = gunzipSync(readFileSync(join(folder, file))).toString()
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .slice(0, most)
  return { tenant, format, lines, records: lines.map((line) => JSON.parse(line) as Raw) }
}

const actionOf = {
  cloudtrail: ({ eventSource, eventName }: Raw) => `aws.${eventSource.replace('.amazonaws.com', '')}.${eventName}`,
  okta: (raw: Raw) => `okta.${raw.eventType ?? raw.eventtype ?? 'unknown'}`,
}

function tally(names: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()

describe.skipIf(!haveSamples)('the public samples', { timeout: isLong ? 600_000 : 120_000 }, () => {
  let database: TestDatabase
  let server: StartedServer
  let client: Affidavit
  let samples: Sample[]
  let scratch: string

  const bring = ({ tenant, format, lines }: Sample) =>
    runImport({ format: formats.get(format)!, input: Readable.from([Buffer.from(lines.join('\n'))]), client, tenant })

  async function found(filter: Parameters<Affidavit['query']>[0]): Promise<StoredEvent[]> {
    const events: StoredEvent[] = []
    for await (const event of client.query(filter, { pageSize: 1000 })) events.push(event)
    return events
  }

  beforeAll(async () => {
    samples = [
      sample('ransomware', 'cloudtrail', 'cloudtrail/s3-ransomware-lab.ndjson.gz', isLong ? undefined : 1500),
      sample('stratus', 'cloudtrail', 'cloudtrail/stratus-red-team.ndjson.gz'),
      sample('okta', 'okta', 'saas/okta-systemlog.ndjson.gz'),
    ]
    scratch = await mkdtemp(join(tmpdir(), 'affidavit-samples-'))
    database = await freshDatabase()
    server = await startedServer(database.url)
    client = createAffidavit({ url: server.url, key: server.key, flushBeforeExit: false })
    for (const one of samples) {
      const summary = await bring(one)
      expect(summary).toMatchObject({ accepted: one.records.length, duplicates: 0, rejected: 0 })
    }
  }, 300_000)

  afterAll(async () => {
    await server?.stop()
    await database?.drop()
    if (scratch) await rm(scratch, { recursive: true, force: true })
  })

  test('importing them again doubles nothing', async () => {
    for (const one of samples) {
      const summary = await bring(one)
      expect(summary).toMatchObject({ accepted: 0, duplicates: one.records.length, rejected: 0 })
    }
  })

  test('counts per action are those of the files', async () => {
    for (const { tenant, format, records } of samples) {
      const events = (await found({ tenant })).filter(({ action }) => !action.startsWith('affidavit.'))
      expect(tally(events.map(({ action }) => action))).toEqual(tally(records.map(actionOf[format])))
    }
  })

  test('one action, and a family of actions, give as many events as the file has', async () => {
    const { records } = samples[0]!
    const actions = records.map(actionOf.cloudtrail)
    expect(await found({ tenant: 'ransomware', action: 'aws.s3.PutObject' })).toHaveLength(
      actions.filter((action) => action === 'aws.s3.PutObject').length,
    )
    expect(await found({ tenant: 'ransomware', action: 'aws.iam.*' })).toHaveLength(
      actions.filter((action) => action.startsWith('aws.iam.')).length,
    )
  })

  test('by IP address, which is personal', async () => {
    const counts = tally(samples[0]!.records.map((record) => record.sourceIPAddress))
    const ips = Object.keys(counts).filter((ip) => /^[\d.]+$/.test(ip))
    expect(ips.length).toBeGreaterThan(1)
    for (const ip of ips.slice(0, 8)) {
      const events = await found({ tenant: 'ransomware', ip })
      expect([ip, events.length]).toEqual([ip, counts[ip]])
      expect(events.every((event) => event.context?.ip === ip)).toBe(true)
    }
    const [event] = await found({ tenant: 'ransomware', ip: ips[0]! })
    expect(event!.facts).not.toContain(ips[0])
  })

  test('by user ARN, which is personal', async () => {
    for (const { tenant, records } of samples.slice(0, 2)) {
      const counts = tally(records.flatMap(({ userIdentity }) => userIdentity.arn ?? []))
      expect(Object.keys(counts).length).toBeGreaterThan(1)
      for (const [arn, count] of Object.entries(counts).slice(0, 12)) {
        expect([arn, (await found({ tenant, actor: arn })).length]).toEqual([arn, count])
      }
    }
  })

  test('by time, in hours that fit together', async () => {
    const { records } = samples[0]!
    const times = records.map(({ eventTime }) => Date.parse(eventTime))
    const first = Math.min(...times)
    const whole = Math.max(...times) + 1000 - first
    const cuts = [first, first + Math.floor(whole / 3), first + Math.floor(whole / 2), first + whole]
    for (const [i, to] of cuts.slice(1).entries()) {
      const from = cuts[i]!
      const events = await found({ tenant: 'ransomware', from: new Date(from), to: new Date(to) })
      expect(events).toHaveLength(times.filter((time) => time >= from && time < to).length)
    }
  })

  test('by who, what and when at once', async () => {
    const { records } = samples[0]!
    const arn = 'arn:aws:iam::342082656213:user/FalsimentisRoot'
    const day = '2021-07-29'
    const wanted = records.filter(
      (record) =>
        record.userIdentity.arn === arn &&
        record.eventTime.startsWith(day) &&
        actionOf.cloudtrail(record).startsWith('aws.s3.'),
    )
    const events = await found({ tenant: 'ransomware', actor: arn, action: 'aws.s3.*', from: day, to: '2021-07-30' })
    expect(events).toHaveLength(wanted.length)
  })

  test('asking with order=asc gives each event once, in the order in which it was sealed', async () => {
    const seqs = (await found({ tenant: 'ransomware', order: 'asc' })).map(({ seq }) => seq)
    expect(seqs.length).toBeGreaterThanOrEqual(samples[0]!.records.length)
    expect(seqs.every((seq, i) => i === 0 || seq > seqs[i - 1]!)).toBe(true)
  })

  describe('a pack of the trail', () => {
    let pack: Buffer
    let vkey: string

    const verdictOn = async (bytes: Buffer) => {
      const file = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) }
      const reader = await PackReader.open(sha256, file)
      return verifyPack(reader, { hash: sha256, verify: verifyEd25519, vkeys: [parseVkey(sha256, vkey)] })
    }

    beforeAll(async () => {
      const described = () => server.get<{ vkey: string; size: number }>('/v1/trails/ransomware')
      while ((await described()).size <= samples[0]!.records.length) await new Promise((wait) => setTimeout(wait, 50))
      vkey = (await described()).vkey
      const reply = await fetch(`${server.url}/v1/trails/ransomware/pack`, {
        headers: { authorization: `Bearer ${server.key}` },
      })
      pack = Buffer.from(await reply.arrayBuffer())
    })

    test('verifies without the server', async () => {
      const verification = await verdictOn(pack)
      expect(verification.findings).toEqual([])
      expect(verification).toMatchObject({ outcome: 'held', assurance: 'anchored' })
    })

    test.skipIf(offline === undefined)(
      'is verified by the command line with the network off; a flipped byte is not',
      async () => {
        const verify = async (...args: string[]) => {
          const command = [process.execPath, join(root, 'cli/src/main.ts'), 'verify', ...args]
          return spawnSync('unshare', [...offline!, ...command], { encoding: 'utf8', timeout: 120_000 })
        }
        const file = join(scratch, 'taken-home.zip')
        await writeFile(file, pack)
        const held = await verify(file, '--vkey', vkey)
        expect(held.stdout).toMatch(/^HELD/m)
        expect(held.status).toBe(0)
        const changed = Buffer.from(pack)
        changed[pack.length >> 1]! ^= 1
        await writeFile(file, changed)
        expect((await verify(file, '--vkey', vkey)).status).toBeOneOf([1, 2])
        // That there is no network is true: the server that made the pack is not to be reached.
        const asked = await verify(server.url, '--tenant', 'ransomware', '--key', server.key)
        expect([asked.status, asked.stderr]).toEqual([2, expect.stringContaining('cannot be reached')])
      },
    )

    test.skipIf(!havePython)('is accepted by the checker that was written from docs/spec alone', async () => {
      const file = join(scratch, 'held.zip')
      await writeFile(file, pack)
      execFileSync('python3', [join(root, 'docs/spec/check.py'), file], { stdio: 'pipe' })
    })

    test.skipIf(!havePython)('that checker refuses another content under the same entries', async () => {
      const file = join(scratch, 'changed.zip')
      const change = [
        'import sys, zipfile',
        'old, new = zipfile.ZipFile(sys.argv[1]), zipfile.ZipFile(sys.argv[2], "w")',
        'for name in old.namelist():',
        '  data = old.read(name)',
        '  new.writestr(name, data.replace(b"PutObject", b"GetObject", 1) if name.startswith("content/") else data)',
        'new.close()',
      ].join('\n')
      await writeFile(join(scratch, 'held.zip'), pack)
      execFileSync('python3', ['-c', change, join(scratch, 'held.zip'), file])
      expect(spawnSync('python3', [join(root, 'docs/spec/check.py'), file]).status).not.toBe(0)
    })

    // Every byte of a small pack is flipped in trail/test/pack.test.ts; here the places are spread over a large one.
    test('with one byte flipped is not accepted, wherever it is', async () => {
      const places = isLong ? 24 : 12
      for (let i = 0; i < places; i++) {
        const at = Math.floor(((i + 0.5) * pack.length) / places)
        const changed = Buffer.from(pack)
        changed[at] = changed[at]! ^ (1 << (i % 8))
        const outcome = await verdictOn(changed).then(
          (verification) => verification.outcome,
          (error: Error) => error.name,
        )
        expect([at, outcome]).not.toEqual([at, 'held'])
        expect(['tampered', 'unchecked', 'PackError']).toContain(outcome)
      }
    })
  })
})
