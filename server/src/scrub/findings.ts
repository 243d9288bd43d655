// Findings as the operator sees and settles them, and the trails that they stop.
import type { Queryable } from '../store/database.ts'

export interface Finding {
  readonly number: number
  /** 32 hex digits. */
  readonly trail: string
  readonly tenant: string
  /** Null: concerns the trail as a whole. */
  readonly seq: number | null
  readonly what: string
  readonly message: string
  /** Milliseconds since 1970. */
  readonly foundAt: number
  readonly acknowledgedAt: number | null
  readonly acknowledgedBy: string | null
  readonly reason: string | null
}

const columns = `f.number, replace(t.id::text, '-', '') as trail, n.id as tenant, f.seq, f.what, f.message, f.found_at as "foundAt",
  f.acknowledged_at as "acknowledgedAt", f.acknowledged_by as "acknowledgedBy", f.reason`
const joined = `affidavit.scrub_findings f join affidavit.trails t on t.number = f.trail join affidavit.tenants n on n.number = t.tenant`

/** Open ones first, newest first; at most 1,000. */
export async function listFindings(db: Queryable): Promise<Finding[]> {
  const { rows } = await db.query<Finding & Record<string, unknown>>(
    `select ${columns} from ${joined} order by f.acknowledged_at is not null, f.number desc limit 1000`,
  )
  return rows
}

export type Acknowledged = { kind: 'acknowledged'; finding: Finding } | { kind: 'not_found' } | { kind: 'already' }

/** The operator knows: the trail goes on once none of its findings is open. */
export async function acknowledgeFinding(
  db: Queryable,
  number: number,
  by: string,
  reason: string,
): Promise<Acknowledged> {
  const { rowCount } = await db.query(
    `update affidavit.scrub_findings set acknowledged_at = clock_timestamp(), acknowledged_by = $2, reason = $3
      where number = $1 and acknowledged_at is null`,
    [number, by, reason],
  )
  const { rows } = await db.query<Finding & Record<string, unknown>>(
    `select ${columns} from ${joined} where f.number = $1`,
    [number],
  )
  const finding = rows[0]
  if (finding === undefined) return { kind: 'not_found' }
  return rowCount === 1 ? { kind: 'acknowledged', finding } : { kind: 'already' }
}

/** Trails that take nothing, and why. */
export async function stoppedTrails(db: Queryable): Promise<Map<number, string>> {
  const { rows } = await db.query<{ trail: number; message: string }>(
    `select distinct on (trail) trail, message from affidavit.scrub_findings
      where acknowledged_at is null order by trail, number`,
  )
  return new Map(rows.map(({ trail, message }) => [trail, message]))
}

export interface ScrubProgress {
  readonly round: number
  readonly checked: number
  readonly total: number
  readonly startedAt: number | null
  readonly finishedAt: number | null
  readonly openFindings: number
  readonly stoppedTrails: number
}

export async function readProgress(db: Queryable): Promise<ScrubProgress> {
  const { rows } = await db.query<Record<keyof ScrubProgress, never>>(
    `select round, checked, total, started_at as "startedAt", finished_at as "finishedAt",
        (select count(*)::int from affidavit.scrub_findings where acknowledged_at is null) as "openFindings",
        (select count(distinct trail)::int from affidavit.scrub_findings where acknowledged_at is null) as "stoppedTrails"
      from affidavit.scrub`,
  )
  return rows[0] as ScrubProgress
}
