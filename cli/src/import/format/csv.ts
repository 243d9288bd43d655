/**
 * CSV with a header line (RFC 4180). A field map says which column becomes which field of the event; columns that it does
 * not name are guessed from their header, and what is then left goes to metadata under the header's name.
 */

import { Readable } from 'node:stream'
import type { Actor, AuditEvent, Category, Outcome } from '@affidavit/sdk'
import { CATEGORIES } from '@affidavit/trail'
import { type CsvError, parse } from 'csv-parse'
import { type ByteSource, plainBytes } from '../bytes.ts'
import * as fit from '../fit.ts'
import type { Format, FormatOptions } from '../format.ts'
import { Identities } from '../identity.ts'
import type { Item, Place } from '../item.ts'
import type { JsonObject } from '../parse-record.ts'

export const csv: Format = {
  name: 'csv',
  title: 'CSV with a header line; --map names the columns',
  personalPointers: [],
  read,
}

/** Fields that a column can become, and the headers (without case, blanks and punctuation) that are taken for them. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  id: ['id', 'eventid', 'uuid'],
  action: ['action', 'event', 'eventtype', 'eventname', 'operation', 'activity'],
  category: ['category'],
  occurred_at: ['occurredat', 'timestamp', 'time', 'date', 'datetime', 'createdat', 'eventtime', 'at'],
  'actor.id': ['actorid', 'actor', 'userid', 'user', 'principal', 'username', 'login'],
  'actor.type': ['actortype', 'usertype'],
  'actor.name': ['actorname', 'fullname', 'displayname', 'name'],
  'actor.email': ['actoremail', 'useremail', 'email', 'mail'],
  'actor.role': ['actorrole', 'role'],
  'actor.team': ['actorteam', 'team'],
  'target.type': ['targettype', 'resourcetype', 'objecttype', 'entitytype'],
  'target.id': ['targetid', 'target', 'resourceid', 'resource', 'object', 'objectid', 'entityid'],
  'target.name': ['targetname', 'resourcename', 'objectname', 'entityname'],
  'target.email': ['targetemail'],
  outcome: ['outcome', 'result', 'status', 'success'],
  reason: ['reason', 'error', 'errormessage'],
  'context.ip': ['ip', 'ipaddress', 'sourceip', 'clientip', 'remoteaddr'],
  'context.user_agent': ['useragent'],
  'context.request_id': ['requestid', 'correlationid'],
  'context.trace_id': ['traceid'],
  'context.session_id': ['sessionid'],
  'context.location': ['location'],
}

/** Fields that a map may name: those above, and `metadata.<name>`. */
export function isMappableField(field: string): boolean {
  return Object.hasOwn(FIELDS, field) || /^metadata\../.test(field)
}

/** Reads `actor.id=user,action=event`. Throws TypeError, naming the part that is wrong. */
export function parseFieldMap(text: string): Record<string, string> {
  const map: Record<string, string> = {}
  for (const part of text.split(',')) {
    const split = part.indexOf('=')
    const field = part.slice(0, split).trim()
    const column = part.slice(split + 1).trim()
    if (split < 1 || column === '') throw new TypeError(`not field=column: ${part}`)
    if (!isMappableField(field)) {
      throw new TypeError(`no such field: ${field}; there are ${Object.keys(FIELDS).join(', ')} and metadata.<name>`)
    }
    map[field] = column
  }
  return map
}

const LONGEST_ROW = 1 << 20

async function* read(input: ByteSource, options: FormatOptions): AsyncGenerator<Item> {
  const failed: Item[] = []
  const parser = parse({
    bom: true,
    info: true,
    skip_empty_lines: true,
    // A row of another length is reported below, in its place among the others.
    relax_column_count: true,
    // A quote inside a plain value is a character like any other; strictness would lose the rows around it.
    relax_quotes: true,
    max_record_size: LONGEST_ROW,
    skip_records_with_error: true,
    on_skip: (error) => {
      if (!error) return
      failed.push({ place: line((error as CsvError & { lines?: number }).lines), ok: false, reason: brief(error) })
    },
  })
  const source = Readable.from(plainBytes(input, options.onRead))
  source.on('error', (error) => parser.destroy(error))
  const identities = new Identities('csv')
  let columns: Columns | undefined
  let last = 1
  try {
    for await (const { record, info } of source.pipe(parser) as AsyncIterable<{
      record: string[]
      info: { lines: number }
    }>) {
      last = info.lines
      yield* failed.splice(0)
      if (columns) {
        yield record.length === columns.header.length
          ? toItem(record, columns, line(last), identities, options.tenant)
          : {
              place: line(last),
              ok: false,
              reason: `${record.length} columns, the header has ${columns.header.length}`,
            }
      } else {
        columns = resolveColumns(record, options.map ?? {})
        if (columns.missing.length > 0) {
          yield { place: line(last), ok: false, reason: `the header has no column ${columns.missing.join(', ')}` }
          return
        }
      }
    }
  } catch (error) {
    yield* failed.splice(0)
    yield { place: line(last + 1), ok: false, reason: `the input cannot be read further: ${(error as Error).message}` }
    return
  }
  yield* failed.splice(0)
}

/** The parser's messages quote the row, which may hold personal values; its codes do not. */
function brief(error: CsvError): string {
  return error.code.replace(/^CSV_/, '').replaceAll('_', ' ').toLowerCase()
}

function line(number: number | undefined): Place {
  return { unit: 'line', number: number ?? 0 }
}

interface Columns {
  header: readonly string[]
  /** Field → index of its column. */
  fields: ReadonlyMap<string, number>
  /** Index of a column → name of its metadata member. */
  metadata: ReadonlyMap<number, string>
  /** Columns that the map names and the header has not. */
  missing: readonly string[]
}

function resolveColumns(header: readonly string[], map: Readonly<Record<string, string>>): Columns {
  const fields = new Map<string, number>()
  const metadata = new Map<number, string>()
  const missing: string[] = []
  const taken = new Set<number>()
  for (const [field, column] of Object.entries(map)) {
    const index = header.indexOf(column)
    if (index === -1) missing.push(column)
    else if (field.startsWith('metadata.')) metadata.set(index, field.slice('metadata.'.length))
    else fields.set(field, index)
    taken.add(index)
  }
  const plain = header.map((name) => name.toLowerCase().replace(/[^a-z0-9]/g, ''))
  for (const [field, names] of Object.entries(FIELDS)) {
    if (fields.has(field)) continue
    const guess = names.map((name) => plain.findIndex((own, i) => own === name && !taken.has(i))).find((i) => i !== -1)
    if (guess === undefined) continue
    fields.set(field, guess)
    taken.add(guess)
  }
  for (const [index, name] of header.entries())
    if (!taken.has(index)) metadata.set(index, name || `column_${index + 1}`)
  return { header, fields, metadata, missing }
}

function toItem(
  row: readonly string[],
  columns: Columns,
  place: Place,
  identities: Identities,
  tenant: string | undefined,
): Item {
  const value = (field: string): string | undefined => {
    const index = columns.fields.get(field)
    return index === undefined || row[index] === '' ? undefined : row[index]
  }
  const action = value('action')
  if (action === undefined) return { place, ok: false, reason: 'no action' }
  const when = value('occurred_at')
  const occurredAt = when === undefined ? undefined : fit.time(when)
  if (when !== undefined && occurredAt === undefined) return { place, ok: false, reason: 'occurred_at is not a time' }
  const rest: JsonObject = {}
  for (const [index, name] of columns.metadata) rest[name] = row[index] ?? ''
  const ip = value('context.ip')
  if (ip !== undefined && fit.ipAddress(ip) === undefined) rest.ip = ip
  const outcome = outcomeOf(value('outcome'))
  if (outcome === undefined && value('outcome') !== undefined) rest.outcome = value('outcome')!
  const category = categoryOf(value('category'))
  if (category === undefined && value('category') !== undefined) rest.category = value('category')!
  const target = fit.target(value('target.type'), {
    id: value('target.id'),
    name: value('target.name'),
    email: value('target.email'),
  })
  const own = value('id')
  const event: AuditEvent = fit.event({
    id: identities.of(own === undefined ? { kind: 'none' } : { kind: 'shared', id: own }, JSON.stringify(row)),
    tenant,
    action: fit.actionOf(action),
    category,
    occurred_at: occurredAt,
    actor: actorOf(value),
    targets: target && [target],
    outcome,
    reason: fit.reason(value('reason')),
    context: fit.context({
      ip,
      user_agent: value('context.user_agent'),
      request_id: value('context.request_id'),
      trace_id: value('context.trace_id'),
      session_id: value('context.session_id'),
      location: value('context.location'),
    }),
    metadata: fit.metadata(rest),
  })
  return { place, ok: true, text: JSON.stringify(event), action: event.action }
}

const ACTOR_TYPES: readonly string[] = ['user', 'api_key', 'service', 'agent', 'system', 'anonymous']

function actorOf(value: (field: string) => string | undefined): Actor {
  const who = {
    id: value('actor.id'),
    name: value('actor.name'),
    email: value('actor.email') ?? value('actor.id'),
    role: value('actor.role'),
    team: value('actor.team'),
  }
  const said = value('actor.type')?.toLowerCase()
  const known = said === 'human' ? 'user' : said !== undefined && ACTOR_TYPES.includes(said) ? said : undefined
  return fit.actor((known as Actor['type']) ?? ((who.id ?? who.email ?? who.name) ? 'user' : 'anonymous'), who)
}

const OUTCOMES: readonly (readonly [Outcome, RegExp])[] = [
  ['success', /^(success|succeeded|successful|ok|allowed|true|1|yes)$/i],
  ['failure', /^(failure|failed|fail|error|false|0|no)$/i],
  ['denied', /^(denied|deny|forbidden|unauthorized|blocked)$/i],
]

function outcomeOf(said: string | undefined): Outcome | undefined {
  return OUTCOMES.find(([, pattern]) => said !== undefined && pattern.test(said.trim()))?.[0]
}

function categoryOf(said: string | undefined): Category | undefined {
  const plain = said?.toLowerCase().trim()
  return plain !== undefined && (CATEGORIES as readonly string[]).includes(plain) ? (plain as Category) : undefined
}
