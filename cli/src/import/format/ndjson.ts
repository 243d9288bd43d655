/** Affidavit's own events, one a line, structured or flat: passed on as they are, with an id if they have none. */

import type { ByteSource } from '../bytes.ts'
import { type Format, type FormatOptions, notARecord } from '../format.ts'
import { Identities } from '../identity.ts'
import type { Item, RawRecord } from '../item.ts'
import { isObject, type JsonObject } from '../parse-record.ts'
import { readRecords } from '../records.ts'

export const ndjson: Format = {
  name: 'ndjson',
  title: "Affidavit's own events, one JSON object a line (or a JSON array)",
  personalPointers: [],
  read,
}

async function* read(input: ByteSource, options: FormatOptions): AsyncGenerator<Item> {
  const identities = new Identities('ndjson')
  for await (const raw of readRecords(input, options)) yield toItem(raw, identities, options.tenant)
}

function toItem(raw: RawRecord, identities: Identities, tenant: string | undefined): Item {
  const { place } = raw
  if (!raw.ok) return raw
  let event: unknown
  try {
    event = JSON.parse(raw.text)
  } catch (error) {
    return { place, ok: false, reason: notARecord(error) }
  }
  if (!isObject(event)) return { place, ok: false, reason: 'not a JSON object' }
  const flat = !Object.hasOwn(event, 'actor')
  const own = flat ? (event.tenant_id ?? event.tenant) : event.tenant
  if (tenant !== undefined && own !== undefined && own !== tenant) {
    return { place, ok: false, reason: 'belongs to another tenant than the one imported into' }
  }
  const added: JsonObject = {}
  if (event.id === undefined && (!flat || event.event_id === undefined)) {
    added[flat ? 'event_id' : 'id'] = identities.of({ kind: 'none' }, raw.text)
  }
  if (tenant !== undefined && own === undefined) added[flat ? 'tenant_id' : 'tenant'] = tenant
  const action = event.action ?? event.event_type
  return { place, ok: true, text: withMembers(raw.text, added), action: typeof action === 'string' ? action : '' }
}

/**
 * Adds members in front without touching the rest of the text: what parsing would hide (a duplicate key, a rounded
 * number) is for the server to see and to refuse. Line breaks can only stand between tokens here and would end the line.
 */
function withMembers(text: string, added: JsonObject): string {
  const line = text.replace(/[\r\n]+/g, ' ')
  const members = JSON.stringify(added).slice(1, -1)
  if (members === '') return line
  const rest = line.slice(1).trimStart()
  return rest.startsWith('}') ? `{${members}}` : `{${members},${rest}`
}
