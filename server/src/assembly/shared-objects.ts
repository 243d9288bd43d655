// Every process on one database must have the same Objects. Epochs that another process wrote elsewhere would be missing at a
// restore, and orders of erasures would not be repeated. So an object and a row of the database hold the same random id.
//
// The object is written first: whoever is cut off between the two finds it again. A database that was lost takes the id from
// Objects that were not.
import { randomBytes } from 'node:crypto'
import { RecoveryRefused } from '../recovery/repository.ts'
import type { Queryable } from '../store/database.ts'
import type { Objects } from '../store/objects.ts'

const marker = 'deployment'
const textOf = (id: string) => `affidavit/1 objects\n${id}\n`

/**
 * To be called by one process at a time, before anything is read from Objects.
 * @param keeper pool of the role keeper
 * @param place as the operator named it
 * @throws RecoveryRefused where these are other Objects than the database's
 */
export async function checkSharedObjects(keeper: Queryable, objects: Objects, place: string): Promise<void> {
  const { rows } = await keeper.query<{ id: string }>(
    `select value #>> '{}' as id from affidavit.settings where name = 'objects'`,
  )
  const known = rows[0]?.id
  const there = (await objects.get(marker))?.toString('utf8')
  if (known !== undefined && there === textOf(known)) return
  if (known !== undefined && there === undefined)
    throw new RecoveryRefused(
      `${place} is not where this deployment keeps its objects: every process of it must name the same place in AFFIDAVIT_OBJECTS. ` +
        `If that place is lost for good, put an object named ${marker} here that has two lines: affidavit/1 objects, and ${known}.`,
    )
  if (known !== undefined)
    throw new RecoveryRefused(
      `${place} holds the objects of another deployment than this database's: name the right place in AFFIDAVIT_OBJECTS.`,
    )
  const id = there === undefined ? randomBytes(16).toString('hex') : idIn(there, place)
  if (there === undefined) await objects.put(marker, Buffer.from(textOf(id)))
  await keeper.query('select affidavit.settle_objects($1)', [id])
}

function idIn(text: string, place: string): string {
  const id = /^affidavit\/1 objects\n([0-9a-f]{32})\n$/.exec(text)?.[1]
  if (id === undefined) throw new RecoveryRefused(`The object ${marker} in ${place} is none of ours.`)
  return id
}
