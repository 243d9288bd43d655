// The tree over a stored month, made by the notary's own steps from the leaf hashes as they lie there: tiles, compact range
// and a signed checkpoint. The copied days are not chained to one another, which a tree does not ask for: an inclusion
// proof reads here what it reads in any trail of that size.

import { type LogKey, signatureLines, trailName } from '@affidavit/server/keys/log-key.ts'
import { extend, type Notarized } from '@affidavit/server/notarize/extend.ts'
import { readLeaves, writeNotarized, writeTiles } from '@affidavit/server/notarize/statements.ts'
import type { Pool } from '@affidavit/server/store/database.ts'
import { formatCheckpoint } from '@affidavit/trail'
import type pg from 'pg'

const step = 65_536

export interface StoredTrail {
  readonly number: number
  /** 32 hex digits. */
  readonly id: string
  readonly size: number
}

/** Does nothing if the tree is there already, in a folder kept from before. */
export async function growTree(
  superuser: pg.Client,
  notary: Pool,
  trail: StoredTrail,
  { logKey, logName }: { readonly logKey: LogKey; readonly logName: string },
): Promise<void> {
  const done = await superuser.query('select from affidavit.notarized where trail = $1 and size = $2', [
    trail.number,
    trail.size,
  ])
  if (done.rowCount === 1) return
  for (const table of ['tiles', 'notarized'])
    await superuser.query(`delete from affidavit.${table} where trail = $1`, [trail.number])
  let grown: Notarized = { size: 0, range: new Uint8Array(), tail: Buffer.alloc(0) }
  while (grown.size < trail.size) {
    const from = grown.size
    const to = Math.min(from + step, trail.size)
    const leaves = (await readLeaves(notary, [{ trail: trail.number, from, to }])).get(trail.number)
    if (leaves === undefined) throw new Error(`leaves ${from} to ${to} are not all there`)
    const extended = extend(grown, leaves, null)
    const origin = trailName(logName, trail.id)
    const text = formatCheckpoint(origin, extended.size, extended.root)
    const signed = {
      trail: trail.number,
      id: trail.id,
      extended,
      note: `${text}\n${signatureLines(logKey, origin, text)}`,
    }
    await notary.transaction(async (session) => {
      await writeTiles(session, [signed])
      await writeNotarized(session, [signed])
    })
    grown = extended
  }
}
