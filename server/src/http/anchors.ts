// Copies of registry checkpoints that lie elsewhere: what everybody may see and download, and what operators watch.
import { Gauge, type Registry } from '@prometheus-io/client'
import Type from 'typebox'
import { listPublic, type PublicCopy, readPublic } from '../anchor/placed.ts'
import type { AnchorState } from '../anchor/states.ts'
import type { Queryable } from '../store/database.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { refuse } from './refused.ts'
import { object, orNull, Time } from './schemas.ts'

const Detail = orNull(Type.String())
const CopyShape = object({
  id: Type.String(),
  anchor: Type.String({ description: 'Name of the place in the operator’s configuration' }),
  kind: Type.Enum(['bucket', 'timestamp']),
  origin: Type.String(),
  epoch: Type.Integer(),
  size: Type.Integer({ description: 'Entries of the registry log' }),
  anchored_at: Time,
  checkpoint: Type.String({ description: 'Where the exact bytes are that were anchored' }),
  token: orNull(Type.String({ description: 'Where the RFC 3161 response over these bytes is' })),
  timestamp: Type.Optional(object({ time: Detail, policy: Detail, serial: Detail })),
  bucket: Type.Optional(
    object({
      bucket: Detail,
      key: Detail,
      version_id: Detail,
      retain_until: orNull(Type.String({ description: 'Until then nobody can delete the object' })),
      endpoint: Detail,
      region: Detail,
    }),
  ),
})

const number = (description: string) => Type.String({ pattern: '^[1-9][0-9]{0,14}$', description })
const id = { id: number('Id of the copy') }
const usual_limit = 50
const scrape_ms = 500
const immutable = { 'cache-control': 'public, max-age=31536000, immutable', 'access-control-allow-origin': '*' }

/** @param store role reader */
export function anchorOperations(store: Queryable): Operation[] {
  const own = { method: 'GET', tag: 'Registry', scope: null, problems: ['not_found'] } as const
  return [
    {
      ...own,
      path: '/v1/registry/anchors',
      operationId: 'listAnchoredCheckpoints',
      summary: 'Registry checkpoints that lie elsewhere, newest first',
      description:
        'Copies in write-once buckets and under timestamps of RFC 3161. Copies in private places, such as mailboxes, are not shown.',
      query: {
        epoch: number('Only those of this epoch'),
        kind: Type.Enum(['bucket', 'timestamp'], { description: 'Only those of this kind' }),
        after: number('Cursor: `next` of the page before'),
        limit: Type.String({ pattern: '^([1-9]|[1-9][0-9]|100)$', description: '1 to 100, default 50' }),
      },
      responses: {
        200: {
          description: 'A page',
          content: { 'application/json': object({ data: Type.Array(CopyShape), next: orNull(Type.String()) }) },
        },
      },
      handle: (call) => list(store, call),
    },
    {
      ...own,
      path: '/v1/registry/anchors/{id}/checkpoint',
      operationId: 'getAnchoredCheckpoint',
      summary: 'The exact bytes that were anchored: a signed note with the cosignatures that were there',
      params: id,
      responses: { 200: { description: 'A signed note', content: { 'text/plain': Type.String() } } },
      handle: async (call) => {
        const { note } = await copy(store, call)
        return { status: 200, body: note, type: 'text/plain; charset=utf-8', headers: immutable }
      },
    },
    {
      ...own,
      path: '/v1/registry/anchors/{id}/token',
      operationId: 'getTimestampToken',
      summary: 'The RFC 3161 response over the SHA-256 of these bytes, as `openssl ts -verify` takes it',
      params: id,
      responses: {
        200: {
          description: 'DER',
          content: { 'application/timestamp-reply': Type.String({ format: 'binary' }) },
        },
      },
      handle: async (call) => {
        const { token } = await copy(store, call)
        if (token === null) throw refuse('not_found', 'This copy has no timestamp.')
        return { status: 200, body: token, type: 'application/timestamp-reply', headers: immutable }
      },
    },
  ]
}

async function list(store: Queryable, { query }: Call): Promise<Reply> {
  const asked = (name: string) => (query.has(name) ? Number(query.get(name)) : undefined)
  const limit = asked('limit') ?? usual_limit
  const kind = query.get('kind') ?? undefined
  const copies = await listPublic(store, { epoch: asked('epoch'), kind, before: asked('after'), limit })
  const next = copies.length === limit ? String(copies.at(-1)!.id) : null
  return {
    status: 200,
    body: { data: copies.map(shown), next },
    headers: { 'cache-control': 'public, max-age=60', 'access-control-allow-origin': '*' },
  }
}

function shown({ id, anchor, kind, origin, epoch, size, at_ms, hasToken, details }: PublicCopy) {
  const path = `/v1/registry/anchors/${id}`
  return {
    id: String(id),
    anchor,
    kind,
    origin,
    epoch,
    size,
    anchored_at: new Date(at_ms).toISOString(),
    checkpoint: `${path}/checkpoint`,
    token: hasToken ? `${path}/token` : null,
    [kind]: details,
  }
}

async function copy(store: Queryable, { params }: Call): Promise<{ note: string; token: Buffer | null }> {
  const found = await readPublic(store, Number(params.id))
  if (found === undefined) throw refuse('not_found', 'There is no such copy.')
  return found
}

/** What operators watch. An anchor that was never reached has no time of success. */
export function registerAnchorMetrics(metrics: Registry, read: () => Promise<readonly AnchorState[]>): void {
  // One look for the gauges of one scrape.
  let looked_ms = Number.NEGATIVE_INFINITY
  let last: Promise<readonly AnchorState[]> = Promise.resolve([])
  const states = () => {
    if (performance.now() - looked_ms > scrape_ms) {
      looked_ms = performance.now()
      last = read().catch(() => []) // a database that is away shows elsewhere
    }
    return last
  }
  const gauge = (name: string, help: string, value: (state: AnchorState) => number | null) =>
    new Gauge({
      name: `affidavit_anchor_${name}`,
      help,
      labelNames: ['anchor', 'kind'],
      registers: [metrics],
      async collect() {
        this.reset()
        for (const state of await states()) {
          const now = value(state)
          if (now !== null) this.set({ anchor: state.name, kind: state.kind }, now)
        }
      },
    })
  gauge('up', '1: the last try went well', ({ error, succeededAt_ms }) =>
    Number(error === null && succeededAt_ms !== null),
  )
  gauge(
    'last_success_seconds',
    'When a checkpoint arrived last (Unix time)',
    ({ succeededAt_ms: at }) => at && at / 1000,
  )
  gauge('epoch', 'Newest epoch that the anchor has', ({ epoch }) => epoch)
  gauge('failures', 'Tries that failed since the last success', ({ failures }) => failures)
  gauge('wrong_answers', 'Answers ever that could not be right: look into them', ({ wrongAnswers }) => wrongAnswers)
}
