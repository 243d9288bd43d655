// The number of a composite type, which differs between databases, and the types of its columns, which must not.

/** A composite type's number and the types of its columns, in order. */
export interface RowType {
  oid: number
  columns: readonly number[]
}

interface Asks {
  query<Row extends Record<string, unknown>>(text: string, values: unknown[]): Promise<{ rows: Row[] }>
}

/** @param name of a composite type or table, e.g. `affidavit.sealed_row` */
export async function rowType(database: Asks, name: string): Promise<RowType> {
  const { rows } = await database.query<{ oid: number; column: number }>(
    `select t.oid, a.atttypid as "column" from pg_type t join pg_attribute a on a.attrelid = t.typrelid
      where t.oid = $1::regtype and a.attnum > 0 and not a.attisdropped order by a.attnum`,
    [name],
  )
  if (rows.length === 0) throw new Error(`${name} is no composite type`)
  return { oid: rows[0]!.oid, columns: rows.map(({ column }) => column) }
}
