/** What a format is, and the part that all formats of one JSON object a record share. */

import type { AuditEvent } from '@affidavit/sdk'
import type { ByteSource } from './bytes.ts'
import { Identities, type SourceId } from './identity.ts'
import type { Item, RawRecord } from './item.ts'
import { type JsonObject, parseRecord } from './parse-record.ts'
import { type ReadOptions, readRecords } from './records.ts'

export interface FormatOptions extends ReadOptions {
  /** Tenant of every event. */
  tenant?: string | undefined
  /** Default: each record of the file is an event of its own. False: copies, by the source's own id, are one event. */
  keepCopies?: boolean | undefined
  /** Only for csv: event field → column, for example `actor.id` → `user`. */
  map?: Readonly<Record<string, string>> | undefined
}

export interface Format {
  name: string
  /** One line for `--help`. */
  title: string
  /** Where personal values stand in this format's events besides the fields that are personal in every event. */
  personalPointers: readonly string[]
  /** Reads an input to its end; never throws for what the input says. */
  read(input: ByteSource, options: FormatOptions): AsyncIterable<Item>
}

export type Mapped = { ok: true; event: AuditEvent } | { ok: false; reason: string }

/** A format whose records are JSON objects, one event each. */
export interface RecordMapping {
  name: string
  title: string
  personalPointers: readonly string[]
  /** The id under which the source keeps the record. */
  sourceId(record: JsonObject): SourceId
  /** Maps a record, which it may take apart. Must depend on nothing but the record. */
  map(record: JsonObject): Mapped
}

export function recordFormat(mapping: RecordMapping): Format {
  const { name, title, personalPointers } = mapping
  return { name, title, personalPointers, read: (input, options) => readMapped(mapping, input, options) }
}

async function* readMapped(mapping: RecordMapping, input: ByteSource, options: FormatOptions): AsyncGenerator<Item> {
  const identities = new Identities(mapping.name, options.keepCopies ?? true)
  for await (const raw of readRecords(input, options)) yield toItem(mapping, identities, raw, options.tenant)
}

function toItem(mapping: RecordMapping, identities: Identities, raw: RawRecord, tenant: string | undefined): Item {
  const { place } = raw
  if (!raw.ok) return raw
  let record: JsonObject
  try {
    record = parseRecord(raw.text)
  } catch (error) {
    return { place, ok: false, reason: notARecord(error) }
  }
  const source = mapping.sourceId(record)
  // White space between the tokens differs between exports of one record, so it must not reach the digest.
  const content = source.kind === 'unique' ? '' : JSON.stringify(record)
  const mapped = mapping.map(record)
  if (!mapped.ok) return { place, ok: false, reason: mapped.reason }
  const id = identities.of(source, content || raw.text)
  const event = { id, ...(tenant === undefined ? {} : { tenant }), ...mapped.event }
  return { place, ok: true, text: JSON.stringify(event), action: event.action }
}

/** V8 quotes the text in its messages; only the position is repeated, because the text may be personal. */
export function notARecord(error: unknown): string {
  if (error instanceof TypeError) return error.message
  const position = /at position (\d+)/.exec(String(error))?.[1]
  return position === undefined ? 'not valid JSON' : `not valid JSON at character ${position}`
}
