// The log key's successor is an entry of the registry log, signed by the key before it or by the recovery key: whoever
// pinned one of these follows to the new one, and a key that nobody announced is nobody's.
import { encodeRegistryEntry, formatVkey, parseNote, signNote, successorText } from '@affidavit/trail'
import type { LogKey } from '../keys/log-key.ts'
import type { Queryable } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'

/**
 * Announces a successor: the next epoch appends the entry before its own. Announcing the same one again changes nothing.
 * From that epoch on the registry is to be signed by both keys, for as long as verifiers may need to follow.
 *
 * @param keeper pool of the role `keeper`
 * @param origin of the registry log (`readOrigin`)
 * @param signer the log key so far, or the recovery key
 * @param successor public half of the new log key, 32 bytes
 * @returns the successor's vkey
 */
export async function announceSuccessor(
  keeper: Queryable,
  origin: string,
  signer: Pick<LogKey, 'signer'>,
  successor: Uint8Array,
): Promise<string> {
  const vkey = formatVkey(sha256, origin, successor)
  const { signatures } = parseNote(await signNote(successorText(vkey), [signer.signer(origin)]))
  const entry = encodeRegistryEntry({ kind: 'key', vkey, signatures })
  await keeper.query(
    `insert into affidavit.registry_pending (entry)
      select $1 where not exists (select from affidavit.registry_entries where kind = 'key' and entry = $1)
      on conflict (entry) do nothing`,
    [entry],
  )
  return vkey
}

/** Whether an announced successor stands in the log already. */
export async function isAnnounced(keeper: Queryable, vkey: string): Promise<boolean> {
  const { rows } = await keeper.query<{ entries: string[] }>(
    `select array(select entry from affidavit.registry_entries where kind = 'key') as entries`,
  )
  return rows[0]!.entries.some((entry) => entry.startsWith(successorText(vkey)))
}

/** Origin of the registry log, or null before the first epoch. */
export async function readOrigin(keeper: Queryable): Promise<string | null> {
  const { rows } = await keeper.query<{ origin: string | null }>('select origin from affidavit.registry')
  return rows[0]!.origin
}
