/** The other audit logs: GitHub, Auth0, Slack, Google Workspace, Entra ID. */

import { compilePolicy } from '@affidavit/server/ingest/policy.ts'
import { describe, expect, test } from 'vitest'
import { formats } from '../src/import/formats.ts'
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

// biome-ignore lint/suspicious/noExplicitAny: raw records of five vendors
type Raw = any

const snake = (words: string) =>
  words
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean)
    .join('_')

/** File, and the action as it can be read off the raw record without the importer. */
const samples: Record<string, [file: string, records: number, action: (raw: Raw) => string]> = {
  github: ['github-audit', 107, (raw) => `github.${raw.action}`],
  auth0: [
    'auth0-events',
    57,
    ({ data }) => `auth0.${data.type}${/api/.test(data.type) ? `.${snake(data.description)}` : ''}`.replace(/_$/, ''),
  ],
  slack: ['slack-auditlogs', 66, (raw) => `slack.${raw.action}`],
  gsuite: [
    'gsuite-activityevent',
    165,
    (raw) =>
      ['gsuite', raw.id?.applicationName, raw.name ?? raw.type ?? 'unknown']
        .filter(Boolean)
        .join('.')
        .replaceAll(' ', '_'),
  ],
  azure: [
    'azure-audit',
    48,
    (raw) =>
      `azure.${snake(raw.operationName ?? raw.operationname ?? raw.properties.operationName ?? raw.properties.activityDisplayName ?? raw.category)}`,
  ],
}

for (const [name, [base, records, action]] of Object.entries(samples)) {
  const format = formats.get(name)!
  const file = `saas/${base}.ndjson.gz`

  describe.skipIf(!haveSamples)(`the ${name} sample`, () => {
    test('every record becomes an event that the server accepts, per action as many as the file has', async () => {
      const items = await readItems(format, sampleStream(file), { tenant: 'org_1' })
      expect(items).toHaveLength(records)
      expect(items.flatMap(objections)).toEqual([])
      const raw = sampleLines(file).map((line) => JSON.parse(line))
      expect(tally(items.map((item) => (item.ok ? item.action : 'bad')))).toEqual(tally(raw.map(action)))
      expect(await readItems(format, sampleStream(file), { tenant: 'org_1' })).toEqual(items)
    })

    test('most events have a time, an actor and a category', async () => {
      const events = (await readItems(format, sampleStream(file))).map(eventOf)
      expect(events.filter((event) => event.actor.id !== undefined).length / records).toBeGreaterThan(0.6)
      expect(events.filter((event) => event.category !== undefined).length / records).toBeGreaterThan(0.5)
      expect(events.filter((event) => event.occurred_at !== undefined).length / records).toBeGreaterThan(0.45)
    })

    test('no e-mail and no IP address stands outside a personal field', async () => {
      const policy = compilePolicy({ personal: format.personalPointers })
      expect(policy.ok && policy.policy.personal).toHaveLength(format.personalPointers.length)
      expect(format.personalPointers.length).toBeLessThanOrEqual(50)
      const always = ['/actor/email', '/actor/id', '/targets/*/email', '/context/ip', '/context/user_agent']
      const patterns = [...format.personalPointers, ...always].map((pointer) => pointer.split('/').slice(1))
      const leaks = new Set<string>()
      const walk = (value: unknown, path: string[]) => {
        if (patterns.some((p) => p.length === path.length && p.every((s, i) => s === '*' || s === path[i]))) return
        if (typeof value === 'string' && /[^\s@]@[a-z]+\.[a-z]|^\d+\.\d+\.\d+\.\d+$/.test(value)) {
          leaks.add(`${path.join('/')} ${value}`)
        }
        if (typeof value === 'object' && value)
          for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key])
      }
      for (const item of await readItems(format, sampleStream(file))) walk(eventOf(item), [])
      expect([...leaks]).toEqual([])
    })
  })

  test(`${name}: every member of a record may have any type`, async () => {
    const values = [null, 0, '', 'x', [], [null], {}, { user: [{}], type: {} }, [[1]]]
    const members = `action actor actor_id actor_ip created_at repo user org data type log_id id entity context details
      date_create name parameters events ipAddress operationName category properties callerIpAddress identity time`
    const seed = { action: 'a', type: 'b', name: 'c', operationName: 'd', id: { applicationName: 'e' } }
    const changed = members.split(/\s+/).flatMap((member) => values.map((value) => ({ ...seed, [member]: value })))
    const items = await readItems(format, chunksOf(changed.map((record) => JSON.stringify(record)).join('\n')))
    expect(items).toHaveLength(changed.length)
    expect(items.filter((item) => item.ok).flatMap(objections)).toEqual([])
    expect(items.filter((item) => !item.ok).length).toBeLessThan(items.length / 2)
  })

  test(`${name}: what is no record of it is said to be none`, async () => {
    const [item] = await readItems(format, chunksOf('{}'))
    expect(item).toMatchObject({ ok: false, reason: expect.stringMatching(/not an? /) })
  })
}
