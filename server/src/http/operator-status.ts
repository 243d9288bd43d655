// One page for the operator: whether events are sealed, how far notary and registry are, and how each witness and anchor
// does. `affidavit status` prints it.
import Type from 'typebox'
import type { RegistryHead } from '../anchor/registry-log.ts'
import type { AnchorState } from '../anchor/states.ts'
import type { NotaryStatus } from '../notarize/notary.ts'
import type { RegistryStatus } from '../registry/registry.ts'
import type { Operation } from './operation.ts'
import { object, orNull, Time } from './schemas.ts'
import { ScrubShape, type ScrubStatus, shownScrub } from './scrub.ts'
import type { Readiness } from './status.ts'

export interface OperatorStatusParts {
  readonly readiness: () => Promise<Readiness>
  readonly notary: () => Promise<NotaryStatus | null>
  readonly registry: () => Promise<RegistryStatus | null>
  /** The newest checkpoint of the registry, and the newest that the policy's quorum cosigned. */
  readonly checkpoints: () => Promise<{ newest: RegistryHead | undefined; cosigned: RegistryHead | undefined }>
  readonly anchors: () => Promise<readonly AnchorState[]>
  readonly scrub: () => Promise<ScrubStatus>
}

const AnchorShape = object({
  name: Type.String(),
  kind: Type.Enum(['witness', 'bucket', 'timestamp', 'mailbox', 'webhook']),
  state: Type.Enum(['untried', 'good', 'failing', 'wrong'], {
    description: 'wrong: it answered, and what it said cannot be right',
  }),
  epoch: orNull(Type.Integer({ description: 'Newest epoch that it has' })),
  size: orNull(Type.Integer()),
  succeeded_at: orNull(Time),
  error: orNull(Type.String({ description: 'Of the last try' })),
  failed_at: orNull(Time),
  failures: Type.Integer({ description: 'Since the last success' }),
  wrong_answers: Type.Integer({ description: 'Ever' }),
  next_try_at: orNull(Time),
})

const StatusShape = object({
  ready: Type.Boolean(),
  waiting_for: Type.Array(Type.String()),
  assurance: Type.Enum(['anchored', 'tamper-detecting only'], {
    description: 'The latter when neither witness nor anchor is configured: nobody outside has seen the log',
  }),
  notary: orNull(
    object({
      unnotarized_events: Type.Integer(),
      missing_events: Type.Integer(),
      stopped_trails: Type.Array(object({ trail: Type.Integer(), reason: Type.String() })),
      last_error: orNull(Type.String()),
    }),
  ),
  registry: orNull(
    object({
      epoch: orNull(Type.Integer()),
      time: orNull(Time),
      size: orNull(Type.Integer({ description: 'Entries of the registry log' })),
      cosigned_epoch: orNull(Type.Integer({ description: 'Newest epoch that the quorum of witnesses cosigned' })),
      cosigned_time: orNull(Time),
      late: Type.Boolean({ description: 'No epoch came for more than three intervals' }),
      behind: Type.Boolean({ description: 'The objects know epochs that the database cannot complete' }),
      broken_trails: Type.Integer({ description: 'Trails whose stored past contradicts their last epoch' }),
    }),
  ),
  anchors: Type.Array(AnchorShape),
  scrub: ScrubShape,
})

export function operatorStatusOperation(parts: OperatorStatusParts): Operation {
  return {
    method: 'GET',
    path: '/v1/status',
    operationId: 'getStatus',
    tag: 'Status',
    summary: 'How the server, its registry, its witnesses and its anchors do',
    scope: 'operator',
    responses: { 200: { description: 'The status', content: { 'application/json': StatusShape } } },
    problems: [],
    handle: async () => ({ status: 200, body: await status(parts) }),
  }
}

async function status(parts: OperatorStatusParts): Promise<object> {
  const [{ ready, waitingFor }, notary, registry, { newest, cosigned }, anchors, scrub] = await Promise.all([
    parts.readiness(),
    parts.notary(),
    parts.registry(),
    parts.checkpoints(),
    parts.anchors(),
    parts.scrub(),
  ])
  return {
    ready,
    waiting_for: waitingFor,
    assurance: anchors.length === 0 ? 'tamper-detecting only' : 'anchored',
    notary: notary && {
      unnotarized_events: notary.lag.reduce((sum, { events }) => sum + events, 0),
      missing_events: notary.missing,
      stopped_trails: notary.stopped,
      last_error: notary.lastError,
    },
    registry: registry && {
      epoch: newest?.epoch ?? null,
      time: time(newest?.at_ms ?? null),
      size: newest?.size ?? null,
      cosigned_epoch: cosigned?.epoch ?? null,
      cosigned_time: time(cosigned?.at_ms ?? null),
      late: registry.late,
      behind: registry.behind,
      broken_trails: registry.broken.length,
    },
    anchors: anchors.map(shown),
    scrub: shownScrub(scrub),
  }
}

const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())

function shown(state: AnchorState) {
  return {
    name: state.name,
    kind: state.kind,
    state: stateOf(state),
    epoch: state.epoch,
    size: state.size,
    succeeded_at: time(state.succeededAt_ms),
    error: state.error,
    failed_at: time(state.failedAt_ms),
    failures: state.failures,
    wrong_answers: state.wrongAnswers,
    next_try_at: time(state.nextTryAt_ms),
  }
}

function stateOf({ error, isWrong, succeededAt_ms }: AnchorState): string {
  if (error !== null) return isWrong ? 'wrong' : 'failing'
  return succeededAt_ms === null ? 'untried' : 'good'
}
