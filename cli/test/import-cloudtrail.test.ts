import { compilePolicy } from '@affidavit/server/ingest/policy.ts'
import { describe, expect, test } from 'vitest'
import { cloudtrail } from '../src/import/format/cloudtrail.ts'
import type { Item } from '../src/import/item.ts'
import {
  chunksOf,
  eventOf,
  haveSamples,
  objections,
  readItems,
  sampleLines,
  sampleStream,
  tally,
} from './import-samples.ts'

const RANSOMWARE = 'cloudtrail/s3-ransomware-lab.ndjson.gz'
const STRATUS = 'cloudtrail/stratus-red-team.ndjson.gz'

/** Mapped once: the file is large and the tests only look at it. */
const mapped = new Map<string, Promise<Item[]>>()
function itemsOf(file: string): Promise<Item[]> {
  const items = mapped.get(file) ?? readItems(cloudtrail, sampleStream(file), { tenant: 'org_1' })
  mapped.set(file, items)
  return items
}

interface Raw {
  eventID: string
  eventName: string
  eventSource: string
  eventTime: string
  /** The record as it stands in the file. */
  line: string
}

const raws = new Map<string, Raw[]>()
function rawOf(file: string): Raw[] {
  const raw = raws.get(file) ?? sampleLines(file).map(asRaw)
  raws.set(file, raw)
  return raw
}

function asRaw(line: string): Raw {
  const { eventID, eventName, eventSource, eventTime } = JSON.parse(line) as Raw
  return { eventID, eventName, eventSource, eventTime, line }
}

function actionInFile({ eventSource, eventName }: Raw): string {
  return `aws.${eventSource.split('.')[0]}.${eventName}`
}

describe.skipIf(!haveSamples)('the CloudTrail samples', () => {
  for (const [file, records] of [
    [RANSOMWARE, 30_477],
    [STRATUS, 310],
  ] as const) {
    test(`${file}: every record becomes an event that the server accepts, per action as many as the file has`, async () => {
      const raw = rawOf(file)
      const items = await itemsOf(file)
      expect(items).toHaveLength(records)
      expect(items.flatMap(objections)).toEqual([])
      expect(tally(items.map((item) => (item.ok ? item.action : 'bad')))).toEqual(tally(raw.map(actionInFile)))
      const events = items.map(eventOf)
      expect(events.map((event) => event.occurred_at)).toEqual(
        raw.map(({ eventTime }) => eventTime.replace('Z', '.000Z')),
      )
    })
  }

  test('without keepCopies a record that the file holds twice is the same event both times', async () => {
    const byId = Map.groupBy(rawOf(RANSOMWARE), ({ eventID }) => eventID)
    expect(byId.size).toBe(23_981)
    const twice = [...byId.values()].filter((copies) => copies.length > 1).flat()
    expect(twice).toHaveLength(2 * (30_477 - 23_981))
    const lines = twice.map(({ line }) => line).join('\n')
    const items = await readItems(cloudtrail, chunksOf(lines), { tenant: 'org_1', keepCopies: false })
    const copies = Map.groupBy(items, (item) => eventOf(item).id)
    expect(copies.size).toBe(30_477 - 23_981)
    for (const same of copies.values())
      expect([same.length, new Set(same.map((item) => item.ok && item.text)).size]).toEqual([2, 1])
  })

  test('the ids are those of the records, and copies are numbered', async () => {
    const items = await itemsOf(RANSOMWARE)
    const seen = new Set<string>()
    const expected = rawOf(RANSOMWARE).map(({ eventID }) => {
      const id = `cloudtrail:${eventID}`
      const copy = seen.has(id)
      seen.add(id)
      return copy ? `${id}:2` : id
    })
    expect(items.map((item) => eventOf(item).id)).toEqual(expected)
  })

  test('a native Records document gives the same events as lines do', async () => {
    const lines = sampleLines(STRATUS)
    const asLines = await readItems(cloudtrail, chunksOf(lines.join('\n')))
    const document = JSON.stringify({ Records: lines.map((line) => JSON.parse(line)) }, null, 2)
    const asDocument = await readItems(cloudtrail, chunksOf(document, 1009))
    expect(asDocument.map(eventOf)).toEqual(asLines.map(eventOf))
    expect(asDocument[7]!.place).toEqual({ unit: 'record', number: 8 })
  })

  test('names and addresses of people stand only where they are personal', async () => {
    const policy = compilePolicy({ personal: cloudtrail.personalPointers })
    expect(policy.ok && policy.policy.personal).toHaveLength(cloudtrail.personalPointers.length)
    expect(cloudtrail.personalPointers.length).toBeLessThanOrEqual(50)
    const patterns = [...cloudtrail.personalPointers, '/actor/email'].map((pointer) => pointer.split('/').slice(1))
    const items = [...(await itemsOf(RANSOMWARE)), ...(await itemsOf(STRATUS))]
    const ips = new Set(items.flatMap((item) => eventOf(item).context?.ip ?? []))
    const names = new Set(items.map(eventOf).flatMap(({ actor }) => (actor.type === 'user' ? (actor.name ?? []) : [])))
    names.delete('root')
    expect(ips.size).toBeGreaterThan(5)
    expect(names.size).toBeGreaterThan(1)
    const personal = new RegExp(
      [...ips, ...names]
        .map((value) => `(?<![\\w.-])${value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w.-])`)
        .join('|'),
    )
    const leaks = new Set<string>()
    const walk = (value: unknown, path: string[]) => {
      if (patterns.some((p) => p.length === path.length && p.every((s, i) => s === '*' || s === path[i]))) return
      if (typeof value === 'string' && personal.test(value)) leaks.add(`${path.join('/')} ${value}`)
      if (typeof value === 'object' && value)
        for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key])
    }
    for (const item of items) {
      const { targets, context: _, ...rest } = eventOf(item)
      walk(rest, [])
      for (const { type, name, ...more } of targets ?? []) {
        if (type !== 'user') walk({ name, ...more }, ['targets'])
      }
    }
    // A trust anchor, which the lab named like its own user.
    expect([...leaks]).toEqual(['metadata/requestParameters/name stratus_red_team'])
  })

  test('sign-ins, refusals and changes of permissions are what they are', async () => {
    const items = [...(await itemsOf(RANSOMWARE)), ...(await itemsOf(STRATUS))]
    const events = items.map(eventOf)
    const seen = (action: string) =>
      tally(events.filter((e) => e.action === action).map((e) => `${e.category} ${e.outcome}`))
    expect(seen('aws.signin.ConsoleLogin')).toEqual({ 'authentication success': 5, 'authentication failure': 1 })
    expect(seen('aws.iam.PutUserPolicy')).toEqual({ 'authorization success': 1 })
    expect(seen('aws.iam.CreateUser')).toEqual({ 'administration success': 1 })
    expect(seen('aws.cloudtrail.StopLogging')).toEqual({ 'administration success': 1 })
    expect(seen('aws.ec2.GetPasswordData')).toEqual({ 'data_access denied': 30 })
    expect(Object.keys(seen('aws.billingconsole.GetBillsForBillingPeriod'))).toEqual(['billing success'])
    expect(Object.keys(tally(events.map((event) => event.category!))).sort()).toEqual([
      'administration',
      'authentication',
      'authorization',
      'billing',
      'data_access',
      'mutation',
    ])
    const policy = events.find((event) => event.action === 'aws.iam.PutUserPolicy')!
    expect(policy).toMatchObject({
      actor: { type: 'user', id: 'arn:aws:iam::342082656213:user/jmerckle', name: 'jmerckle' },
      targets: [{ type: 'user', name: 'jmerckle' }],
      context: { ip: '3.238.12.183', auth_method: 'api_key', api_key: { id: 'AKIAU7JNXC7K7XNL3F6J' } },
      metadata: { eventName: 'PutUserPolicy', requestParameters: { policyName: 'zlj9i0k83o' } },
      source: { id: '342082656213', system: 'cloudtrail' },
    })
  })

  test('a service that calls from inside AWS has no IP address', async () => {
    const events = (await itemsOf(RANSOMWARE)).map(eventOf)
    const service = events.filter((event) => event.actor.type === 'service')
    expect(service.every((event) => event.context?.ip === undefined)).toBe(true)
    expect(tally(service.map((event) => String(event.metadata?.sourceIPAddress)))).toMatchObject({
      'cloudtrail.amazonaws.com': expect.any(Number),
    })
  })
})

describe('hostile records', () => {
  const record = {
    eventID: 'e-1',
    eventName: 'PutObject',
    eventSource: 's3.amazonaws.com',
    eventTime: '2026-01-01T00:00:00Z',
    userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::1:user/x', userName: 'x' },
  }
  const importable = async (change: object) => {
    const [item] = await readItems(cloudtrail, chunksOf(JSON.stringify({ ...record, ...change })))
    expect(objections(item!)).toEqual([])
    return eventOf(item)
  }

  test('reserved keys, half characters and deep nesting cannot keep a record out', async () => {
    let deep: unknown = 'x'
    for (let i = 0; i < 500; i++) deep = i % 2 ? [deep] : { deep }
    const requestParameters = { $personal: 0, '\ud800': '\udfff', deep, big: 1, __proto__: null }
    const { metadata } = await importable({ requestParameters })
    expect(metadata!.requestParameters).toMatchObject({ $$personal: 0, '\ufffd': '\ufffd' })
  })

  test('sizes beyond the limits are cut, replaced by their digest, or left in metadata', async () => {
    const long = 'é'.repeat(5000)
    const event = await importable({
      userAgent: long,
      errorCode: long,
      requestID: long,
      requestParameters: { blob: 'x'.repeat(300_000) },
      resources: Array.from({ length: 200 }, (_, i) => ({ ARN: `arn:aws:s3:::b/${i}`, type: 'AWS::S3::Object' })),
      userIdentity: { type: 'IAMUser', arn: `arn:${long}`, userName: long },
      ...Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`extra${i}`, i])),
    })
    expect(event.targets).toHaveLength(64)
    expect(event.context?.user_agent).toHaveLength(1024)
    expect(Object.keys(event.metadata!)).toHaveLength(50)
    expect(event.metadata!.requestParameters).toEqual({
      omitted_bytes: 300_011,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    expect(event.metadata!.resources).toHaveLength(200)
  })

  test('numbers that a double cannot hold are kept as text', async () => {
    const text = JSON.stringify(record).replace('{', '{"requestParameters":{"n":12345678901234567890,"m":1.5},')
    const [item] = await readItems(cloudtrail, chunksOf(text))
    expect(objections(item!)).toEqual([])
    expect(eventOf(item).metadata!.requestParameters).toEqual({ n: '12345678901234567890', m: 1.5 })
  })

  test('every member may have any type', async () => {
    const values = [null, 0, -1.5, '', 'x', true, [], [null], {}, { x: [{}] }, [[1]], '\u0000']
    const members = `userIdentity sourceIPAddress userAgent requestParameters responseElements resources requestID
      errorCode errorMessage recipientAccountId readOnly eventCategory additionalEventData eventID`.split(/\s+/)
    for (const member of members) for (const value of values) await importable({ [member]: value })
    for (const part of ['type', 'arn', 'principalId', 'userName', 'accessKeyId', 'sessionContext', 'onBehalfOf']) {
      for (const value of values) await importable({ userIdentity: { type: 'AssumedRole', [part]: value } })
    }
    for (const value of values) await importable({ resources: [{ ARN: value, type: value, accountId: value }] })
  })

  test('what is not a CloudTrail record is said to be none', async () => {
    const input = [
      '{}',
      '[1',
      '{"eventName":"X"}',
      'null',
      '7',
      '{"eventName":"X","eventSource":"y","eventTime":"soon"}',
    ]
    const items = await readItems(cloudtrail, chunksOf(`${JSON.stringify(record)}\n${input.join('\n')}`))
    expect(items.map((item) => (item.ok ? 'ok' : `${item.place.number} ${item.reason}`))).toEqual([
      'ok',
      '2 no eventName: not a CloudTrail record',
      expect.stringMatching(/^3 not valid JSON/),
      '4 no eventSource: not a CloudTrail record',
      '5 not a JSON object',
      '6 not a JSON object',
      '7 eventTime is missing or not a time',
    ])
  })
})
