// The log key's successor is an entry of the registry log, signed by the key before it: whoever pinned that follows to the
// new one, and a key that nobody announced is nobody's. From its entry on it signs every checkpoint of the registry.
import { decodeRegistryEntry, encodeRegistryEntry, formatVkey, successorText } from '@affidavit/trail'
import type { LogKey } from '../keys/log-key.ts'
import type { Queryable } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'

const utf8 = new TextEncoder()

/** vkeys under the registry's origin that the log names, the first one included; null: there is no epoch yet. */
export async function readNamed(db: Queryable): Promise<string[] | null> {
  const { rows } = await db.query<{ origin: string | null; log_key: Buffer | null; entries: string[] }>({
    name: 'registry named keys',
    text: `select r.origin, r.log_key, array(select entry from affidavit.registry_entries where kind <> 'epoch' order by index) as entries
      from affidavit.registry r`,
  })
  const { origin, log_key, entries } = rows[0]!
  if (origin === null || log_key === null) return null
  const successors = entries.map(decodeRegistryEntry).flatMap((entry) => (entry.kind === 'key' ? [entry.vkey] : []))
  return [formatVkey(sha256, origin, log_key), ...successors]
}

/** Entries that the next epoch has to append, oldest successor first; or why this process cannot sign one. */
export type Succession = { readonly entries: readonly string[] } | { readonly missing: string }

export async function successionOf(
  { pool, logKeys, announced = null }: { pool: Queryable; logKeys: readonly LogKey[]; announced?: string | null },
  origin: string,
): Promise<Succession> {
  const keys = logKeys.toReversed()
  const vkeys = keys.map((key) => key.vkey(origin))
  const named = (await readNamed(pool)) ?? [vkeys[0]!]
  const isNew = !named.includes(vkeys.at(-1)!)
  // The recovery key named it: the keys before it are lost, or nobody's any more.
  if (isNew && announced !== null && namedIn(announced) === vkeys.at(-1)) return { entries: [announced] }
  if (!vkeys.includes(named.at(-1)!))
    return { missing: `this process has not the log key ${named.at(-1)}: start it again` }
  if (!named.includes(vkeys[0]!)) return { missing: `no key is left that can announce the log key ${vkeys[0]}` }
  const entries = keys.flatMap((_, n) =>
    named.includes(vkeys[n]!) ? [] : [successor(keys[n - 1]!, vkeys[n]!, origin)],
  )
  return { entries }
}

function namedIn(text: string): string | undefined {
  const entry = decodeRegistryEntry(text)
  return entry.kind === 'key' ? entry.vkey : undefined
}

function successor(before: LogKey, vkey: string, origin: string): string {
  const { name, id } = before.signer(origin)
  const signature = before.sign(utf8.encode(successorText(vkey)))
  return encodeRegistryEntry({ kind: 'key', vkey, signatures: [{ name, id, signature }] })
}
