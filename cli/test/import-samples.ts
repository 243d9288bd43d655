/** The public sample files, read raw for counting and as streams for importing. They lie beside the checkout. */

import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { checkMeaning, checkShape } from '@affidavit/server/ingest/check-event.ts'
import type { EventInput } from '@affidavit/server/ingest/event.ts'
import { parseStrictText } from '@affidavit/server/ingest/strict-json.ts'
import type { Format, FormatOptions } from '../src/import/format.ts'
import type { Item } from '../src/import/item.ts'

const folder = fileURLToPath(new URL('../../../shared/data/', import.meta.url))

export const haveSamples = existsSync(folder)
if (!haveSamples) console.warn(`Skipped: the public samples are not at ${folder}`)

export function sampleStream(name: string) {
  return createReadStream(folder + name)
}

export function sampleLines(name: string): string[] {
  return gunzipSync(readFileSync(folder + name))
    .toString()
    .split('\n')
    .filter((line) => line !== '')
}

export async function* chunksOf(text: string | Buffer, size = 1 << 16): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text)
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
}

export async function readItems(
  format: Format,
  input: AsyncIterable<Uint8Array>,
  options: FormatOptions = {},
): Promise<Item[]> {
  const items: Item[] = []
  for await (const item of format.read(input, options)) items.push(item)
  return items
}

/** What the server would say against an event, in its own words; empty when it would accept it. */
export function objections(item: Item): string[] {
  if (!item.ok) return [item.reason]
  const parsed = parseStrictText(item.text)
  if (!parsed.ok) return [parsed.problem.detail]
  const shape = checkShape(parsed.value)
  const problems =
    shape.length > 0
      ? shape
      : checkMeaning(parsed.value as unknown as EventInput, { arrival: Date.now(), platform: false }, (at) => at)
  return problems.map(({ code, pointer }) => `${code} ${pointer}`)
}

/** Parsed once: several tests look at the same thirty thousand. */
const parsedEvents = new WeakMap<Item, EventInput>()

export function eventOf(item: Item | undefined): EventInput {
  if (!item?.ok) throw new Error(item ? item.reason : 'no item')
  const event = parsedEvents.get(item) ?? (JSON.parse(item.text) as EventInput)
  parsedEvents.set(item, event)
  return event
}

export function tally(names: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
