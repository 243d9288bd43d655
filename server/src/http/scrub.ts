// What the scrub found, for the operator: progress, findings, and the word that lets a stopped trail go on.
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { acknowledgeFinding, type Finding, listFindings, type ScrubProgress } from '../scrub/findings.ts'
import type { Pool } from '../store/database.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation } from './operation.ts'
import type { PlatformRecorder } from './platform-events.ts'
import { refuse } from './refused.ts'
import { Hex16, object, orNull } from './schemas.ts'

export interface ScrubStatus extends ScrubProgress {
  /** `idle`: between two rounds. */
  readonly state: 'off' | 'idle' | 'running'
  /** Events per second. */
  readonly rate: number
}

export interface ScrubHttpParts {
  /** Pool of the role `scrub`. */
  readonly pool: Pool
  readonly status: () => Promise<ScrubStatus>
  readonly refresh: () => Promise<void>
  readonly recorder: PlatformRecorder
}

const time = Type.String({ format: 'date-time' })
const FindingShape = object({
  id: Type.String(),
  tenant: Type.String(),
  trail: Hex16,
  seq: orNull(Type.Integer({ minimum: 0 })),
  what: Type.String({ description: 'The column or table that is not what it is derived from' }),
  message: Type.String(),
  found_at: time,
  acknowledged_at: orNull(time),
  acknowledged_by: orNull(Type.String()),
  reason: orNull(Type.String()),
})
const statusMembers = {
  state: Type.Enum(['off', 'idle', 'running'], { description: 'idle: between two rounds' }),
  rate: Type.Integer({ description: 'Events per second' }),
  round: Type.Integer(),
  checked: Type.Integer({ description: 'Entries read in this round' }),
  total: Type.Integer({ description: 'Entries there were when the round began' }),
  started_at: orNull(time),
  finished_at: orNull(time),
  open_findings: Type.Integer(),
  stopped_trails: Type.Integer({ description: 'Their events are refused until the findings are acknowledged' }),
}
/** The status without its findings. */
export const ScrubShape = object(statusMembers)
const StatusShape = object({ ...statusMembers, findings: Type.Array(FindingShape) })
const Acknowledgement = object({ reason: Type.String({ minLength: 1, maxLength: 1000 }) })

const acknowledgement = Compile(Acknowledgement)

const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())

const shown = (finding: Finding) => ({
  id: String(finding.number),
  tenant: finding.tenant,
  trail: finding.trail,
  seq: finding.seq,
  what: finding.what,
  message: finding.message,
  found_at: iso(finding.foundAt),
  acknowledged_at: iso(finding.acknowledgedAt),
  acknowledged_by: finding.acknowledgedBy,
  reason: finding.reason,
})

/** The status without its findings, as `/v1/status` and `/v1/scrub` show it. */
export const shownScrub = ({ startedAt, finishedAt, openFindings, stoppedTrails, ...status }: ScrubStatus) => ({
  state: status.state,
  rate: status.rate,
  round: status.round,
  checked: status.checked,
  total: status.total,
  started_at: iso(startedAt),
  finished_at: iso(finishedAt),
  open_findings: openFindings,
  stopped_trails: stoppedTrails,
})

export function scrubOperations(parts: ScrubHttpParts): Operation[] {
  const own = { tag: 'Status', scope: 'operator' } as const
  return [
    {
      ...own,
      method: 'GET',
      path: '/v1/scrub',
      operationId: 'getScrub',
      summary: 'How far the scrub is, and what it found',
      responses: { 200: { description: 'The scrub', content: { 'application/json': StatusShape } } },
      problems: [],
      handle: async () => ({
        status: 200,
        body: { ...shownScrub(await parts.status()), findings: (await listFindings(parts.pool)).map(shown) },
      }),
    },
    {
      ...own,
      method: 'POST',
      path: '/v1/scrub/findings/{id}/acknowledge',
      operationId: 'acknowledgeFinding',
      summary: 'Take note of a finding; its trail goes on once none is open',
      params: { id: Type.String({ pattern: '^[1-9][0-9]{0,15}$' }) },
      body: { 'application/json': Acknowledgement },
      responses: { 200: { description: 'The finding', content: { 'application/json': FindingShape } } },
      problems: [...bodyProblems, 'invalid_json', 'not_found', 'conflict'],
      handle: (call) => acknowledge(parts, call),
    },
  ]
}

async function acknowledge(parts: ScrubHttpParts, call: Call) {
  const { reason } = jsonBody(call.body, acknowledgement)
  const principal = call.principal!
  const outcome = await acknowledgeFinding(parts.pool, Number(call.params.id), principal.keyId, reason)
  if (outcome.kind === 'not_found') throw refuse('not_found', 'There is no such finding.')
  if (outcome.kind === 'already') throw refuse('conflict', 'The finding was acknowledged before.')
  const { finding } = outcome
  await parts.refresh()
  parts.recorder.note({
    id: `scrub.acknowledged:${finding.number}`,
    tenant: undefined,
    action: 'affidavit.integrity.acknowledged',
    actor: { type: 'api_key', id: principal.keyId, name: principal.name },
    targets: [{ type: 'trail', id: finding.trail }],
    reason,
    metadata: { finding: String(finding.number), tenant: finding.tenant, what: finding.what, message: finding.message },
  })
  return { status: 200, body: shown(finding) }
}
