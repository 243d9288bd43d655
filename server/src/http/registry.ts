// The registry: a public log that anybody may read and cache, and with a trail's key the proof of what that trail's slot
// holds in an epoch. Nothing here needs to be trusted by whoever reads it.
import { createHash } from 'node:crypto'
import { formatSuccession, parseTilePath } from '@affidavit/trail'
import { Gauge, type Registry } from '@prometheus-io/client'
import Type from 'typebox'
import { tenantPattern } from '../ingest/event.ts'
import type { RegistryReader } from '../registry/read.ts'
import type { RegistryStatus } from '../registry/registry.ts'
import { type RegistryThread, RegistryUnavailable } from '../registry/thread.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { readerOf } from './reading.ts'
import { refuse } from './refused.ts'

export interface RegistryParts {
  readonly registry: RegistryReader
  readonly thread: Pick<RegistryThread, 'slotProof'>
  readonly tenants: OwnTenants
  /** Whether witnesses are configured: then a checkpoint without their quorum says so. */
  readonly hasPolicy: boolean
}

const text = 'text/plain; charset=utf-8'
const textContent = { 'text/plain': Type.String() }
const unchanged = { 304: { description: 'As the `If-None-Match` tag says' } }
const ifNoneMatch = { requestHeaders: { 'if-none-match': Type.Optional(Type.String()) } }
/** Browsers of other origins may read it: it is public, and no credentials are involved. */
const shared = { 'access-control-allow-origin': '*' }
const immutable = 'public, max-age=31536000, immutable'

const open = { tag: 'Registry', scope: null, problems: ['not_found', 'not_notarized'], ...ifNoneMatch } as const

export function registryOperations(parts: RegistryParts): Operation[] {
  return [
    {
      ...open,
      method: 'GET',
      path: '/v1/registry/checkpoint',
      operationId: 'getRegistryCheckpoint',
      summary: 'The newest checkpoint of the registry log, with the cosignatures of witnesses',
      description:
        'C2SP tlog-checkpoint. Where witnesses are configured, a checkpoint that has their quorum is preferred to a newer one for ten minutes; after that the newest is served with the header `Affidavit-Quorum: missing`.',
      responses: { 200: { description: 'A signed note', content: textContent }, ...unchanged },
      handle: (call) => checkpoint(parts, call),
    },
    {
      ...open,
      method: 'GET',
      path: '/v1/registry/tile/{path+}',
      operationId: 'getRegistryTile',
      summary: 'A hash tile or entry bundle of the registry log (C2SP tlog-tiles)',
      params: { path: Type.String({ maxLength: 200 }) },
      responses: {
        200: { description: 'The tile', content: { 'application/octet-stream': Type.String({ format: 'binary' }) } },
        ...unchanged,
      },
      handle: (call) => tile(parts, call),
    },
    {
      ...open,
      method: 'GET',
      path: '/v1/registry/vkeys',
      operationId: 'getRegistryKeys',
      summary: 'Verifier keys of the registry log: log keys in their order, then the recovery key',
      description:
        'One vkey per line. Pin them from a source that you trust, a contract or a setup link; what is served here says only what to compare.',
      responses: { 200: { description: 'Verifier keys', content: textContent }, ...unchanged },
      handle: async (call) => {
        const vkeys = await parts.registry.vkeys()
        if (vkeys === undefined) throw noEpoch()
        return cached(call, `${vkeys.join('\n')}\n`, text, 'public, max-age=60')
      },
    },
    {
      ...open,
      method: 'GET',
      path: '/v1/registry/succession',
      operationId: 'getRegistrySuccession',
      summary: 'How log keys followed one another',
      description:
        'Every entry of the registry log in which a log key names the next one, with its proof under the newest checkpoint, as text. Whoever pinned an earlier key follows from it.',
      responses: { 200: { description: 'The succession', content: textContent }, ...unchanged },
      handle: async (call) => {
        const succession = await parts.registry.succession()
        if (succession === undefined) throw noEpoch()
        return cached(call, formatSuccession(succession), text, 'public, max-age=5')
      },
    },
    {
      method: 'GET',
      path: '/v1/trails/{tenant}/slot',
      operationId: 'getSlotProof',
      tag: 'Proofs',
      summary: 'Proof of what an epoch of the registry holds for a trail',
      description:
        'The blind, the path to the slot tree and the checkpoint that the trail had then, as text. The root it leads to stands in the registry log, in the entry that `index` names. The newest epoch, audit epochs (the last one of each UTC day) and all epochs of the last seven days can be asked for.',
      scope: 'verify',
      params: { tenant: Type.String({ pattern: tenantPattern }) },
      query: {
        epoch: Type.String({
          pattern: '^(latest|[1-9][0-9]{0,9})$',
          description: 'Number of the epoch; default: latest',
        }),
      },
      responses: { 200: { description: 'The slot proof', content: textContent } },
      problems: ['not_found', 'epoch_expired'],
      handle: (call) => slot(parts, call),
    },
  ]
}

const noEpoch = () => refuse('not_notarized', 'The registry has no epoch yet.', undefined, { 'retry-after': '1' })

/** Answers 304 to whoever has it already. */
function cached(
  call: Call,
  body: string | Buffer,
  type: string,
  cacheControl: string,
  more: Record<string, string> = {},
): Reply {
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  const headers = { 'cache-control': cacheControl, etag, ...shared, ...more }
  const known = String(call.headers['if-none-match'] ?? '')
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
  if (known.includes(etag) || known.includes('*')) return { status: 304, headers }
  return { status: 200, body, type, headers }
}

async function checkpoint({ registry, hasPolicy }: RegistryParts, call: Call): Promise<Reply> {
  const served = await registry.checkpoint()
  if (served === undefined) throw noEpoch()
  const lacking = hasPolicy && !served.quorum
  return cached(call, served.note, text, 'public, max-age=5', lacking ? { 'affidavit-quorum': 'missing' } : {})
}

async function tile({ registry }: RegistryParts, call: Call): Promise<Reply> {
  const id = parseTilePath(`tile/${call.params.path}`)
  if (id === undefined) throw refuse('not_found', 'This is no tile path of C2SP tlog-tiles.')
  const bytes = await registry.tile(id)
  if (bytes === undefined) throw refuse('not_found', 'The registry log has no such tile.')
  return cached(call, Buffer.from(bytes), 'application/octet-stream', immutable)
}

async function slot({ tenants, thread }: RegistryParts, call: Call): Promise<Reply> {
  const reader = await readerOf(tenants, call, call.params.tenant!)
  const asked = call.query.get('epoch') ?? 'latest'
  const outcome = await thread
    .slotProof(reader.tenant.number, asked === 'latest' ? asked : Number(asked))
    .catch((error: unknown) => {
      if (!(error instanceof RegistryUnavailable)) throw error
      throw refuse('unavailable', 'The registry cannot answer at the moment.', undefined, { 'retry-after': '2' })
    })
  if (outcome.kind === 'not_found') throw refuse('not_found', 'The trail is not in that epoch.')
  if (outcome.kind === 'expired')
    throw refuse('epoch_expired', 'That epoch was no audit epoch, and is more than seven days old.')
  const lasting = asked === 'latest' ? 'private, no-cache' : 'private, max-age=86400'
  return { status: 200, body: outcome.text, type: text, headers: { 'cache-control': lasting } }
}

/** What operators watch: how old the newest epoch is, and whether that is too old. */
export function registerRegistryMetrics(metrics: Registry, status: () => Promise<RegistryStatus | null>): void {
  const gauge = (name: string, help: string, value: (status: RegistryStatus) => number | null) =>
    new Gauge({
      name,
      help,
      registers: [metrics],
      async collect() {
        const now = await status()
        this.set((now && value(now)) ?? Number.NaN)
      },
    })
  gauge('affidavit_registry_epoch', 'Number of the newest epoch', ({ epoch }) => epoch)
  gauge('affidavit_registry_epoch_age_seconds', 'Age of the newest epoch', ({ at }) => at && (Date.now() - at) / 1000)
  gauge('affidavit_registry_late', '1: no epoch came for more than three intervals', ({ late }) => Number(late))
  gauge('affidavit_registry_behind', '1: the objects know epochs that the database cannot complete', ({ behind }) =>
    Number(behind),
  )
  gauge('affidavit_registry_leads', '1: this process makes the epochs', ({ leads }) => Number(leads))
  gauge(
    'affidavit_registry_epoch_duration_seconds',
    'What the last epoch of this process took',
    ({ duration_ms }) => duration_ms && duration_ms / 1000,
  )
  gauge('affidavit_registry_broken_trails', 'Trails that stay as the registry has them', ({ broken }) => broken.length)
}
