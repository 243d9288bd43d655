/**
 * A log server over the sample trail and a registry of several days, made from seeds and served over HTTP by a real
 * server whose every answer a test may replace: what a hostile operator can show to a verifier.
 */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  concatBytes,
  type Epoch,
  encodeBundle,
  encodeContent,
  encodeRegistryEntry,
  formatSlotProof,
  type NoteSigner,
  parseTilePath,
  type RegistryEntry,
  slotBlind,
  TILE_WIDTH,
  type TileId,
  treeRoot,
} from '@affidavit/trail'
import { nodeSha256 } from '../../trail/test/node-hash.ts'
import {
  makeEpoch,
  REGISTRY_SIGNER,
  REGISTRY_VKEY,
  type SampleEpoch,
  SampleLog,
  SECRET,
} from '../../trail/test/sample-registry.ts'
import {
  LOG,
  makeTrail,
  OPEN,
  ORIGIN,
  type Planned,
  type SampleTrail,
  SLOT,
  signedCheckpoint,
  TRAIL,
} from '../../trail/test/sample-trail.ts'

export const TENANT = 'org_1'
/** Minutes between entries, and between epochs. */
export const ENTRY_MINUTES = 30
export const EPOCH_MINUTES = 240

/** What `seq` is unless a test says otherwise: the opening, then events every half hour. */
export function makePlan(size: number, changes: ReadonlyMap<number, Planned> = new Map()): Planned[] {
  return Array.from({ length: size }, (_, seq) => ({
    minutes: seq * ENTRY_MINUTES,
    ...(seq === 0 && { control: OPEN }),
    ...changes.get(seq),
  }))
}

export const honestTrail = (size: number): SampleTrail => makeTrail(makePlan(size))

/** An epoch every four hours, each binding what was sealed by then. */
export function makeEpochs(count: number, trailOf: (epoch: number) => SampleTrail): SampleEpoch[] {
  return Array.from({ length: count }, (_, at) => {
    const epoch = at + 1
    const minutes = epoch * EPOCH_MINUTES
    return makeEpoch(epoch, minutes, trailOf(epoch), Math.floor(minutes / ENTRY_MINUTES) + 1)
  })
}

export interface Shown {
  readonly trail: SampleTrail
  /** Entries under the trail's checkpoint; default: all. */
  readonly size?: number
  readonly trailSigner?: NoteSigner
  readonly vkey?: string
  readonly epochs: readonly SampleEpoch[]
  /** The registry's entries; default: the epochs'. */
  readonly entries?: readonly RegistryEntry[]
  /** Entries under the registry's checkpoint; default: all. */
  readonly registrySize?: number
  readonly registrySigner?: NoteSigner
  /** Adds cosignatures. */
  readonly cosign?: (note: string) => Promise<string>
}

export interface Answer {
  readonly status?: number
  readonly body?: string | Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  /** Takes over the response altogether. */
  readonly take?: (response: ServerResponse) => void
}

export class SampleServer {
  shown: Shown
  /** Asked first; undefined: the honest answer, which it may look at. */
  instead: (path: string, honest: () => Promise<Answer>) => Promise<Answer | undefined> | Answer | undefined = () =>
    undefined
  readonly #server: Server
  #made = new Map<string, Answer | Promise<Answer>>()
  #madeOf: Shown | undefined

  private constructor(shown: Shown, server: Server) {
    this.shown = shown
    this.#server = server
  }

  static async start(shown: Shown): Promise<SampleServer> {
    const server = createServer()
    const sample = new SampleServer(shown, server)
    server.on('request', (request, response) => void sample.#serve(request.url!, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return sample
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  async #serve(path: string, response: ServerResponse): Promise<void> {
    response.on('error', () => {})
    const honest = async () => this.#remembered(path)
    const answer = (await this.instead(path, honest)) ?? (await honest())
    if (answer.take !== undefined) return answer.take(response)
    response.writeHead(answer.status ?? 200, answer.headers)
    response.end(answer.body)
  }

  /** What is shown does not change between two requests for the same. */
  #remembered(path: string): Answer | Promise<Answer> {
    if (this.#madeOf !== this.shown) this.#made = new Map()
    this.#madeOf = this.shown
    const answer = this.#made.get(path) ?? this.#honest(path)
    this.#made.set(path, answer)
    return answer
  }

  async #honest(path: string): Promise<Answer> {
    const url = new URL(path, 'http://sample')
    const own = `/v1/trails/${TENANT}`
    if (url.pathname.startsWith('/v1/registry/')) return this.#registry(url.pathname.slice('/v1/registry/'.length))
    if (url.pathname === own) return json(this.#info())
    if (url.pathname.startsWith(`${own}/`)) return this.#trail(url.pathname.slice(own.length + 1), url.searchParams)
    return notFound
  }

  #info(): object {
    const { trail, size = trail.leaves.length, vkey = LOG.vkey } = this.shown
    return { tenant: TENANT, trail: TRAIL, origin: ORIGIN, vkey, size, trails: [TRAIL], withheld: [] }
  }

  async #trail(rest: string, query: URLSearchParams): Promise<Answer> {
    const { trail, size = trail.leaves.length, trailSigner } = this.shown
    if (rest === 'checkpoint') return { body: await signedCheckpoint(trail, size, trailSigner) }
    if (rest === 'slot') return this.#slot(query.get('epoch')!)
    if (rest === 'content') {
      const payloads = trail.payloads.slice(Number(query.get('from')), Number(query.get('to')))
      return { body: payloads.map((payload) => `${encodeContent(payload)}\n`).join('') }
    }
    return tileOf(rest, trail.bytes.slice(0, size), trail.leaves.slice(0, size))
  }

  #slot(epoch: string): Answer {
    const { epochs, entries = epochs.map(({ entry }) => entry) } = this.shown
    const found =
      epochs.find(({ entry }) => String(entry.epoch) === epoch) ?? (epoch === 'latest' ? epochs.at(-1) : undefined)
    if (found === undefined) return notFound
    const { entry, tree, body } = found
    const index = entries.findIndex((one) => one.kind === 'epoch' && one.epoch === entry.epoch)
    const blind = slotBlind(nodeSha256, SECRET, entry.epoch, SLOT)
    const depth = entry.depth
    return {
      body: formatSlotProof({ epoch: entry.epoch, index, slot: SLOT, depth, blind, path: tree.path(SLOT), body }),
    }
  }

  async #registry(rest: string): Promise<Answer> {
    const { epochs, registrySigner = REGISTRY_SIGNER, cosign } = this.shown
    const all = this.shown.entries ?? epochs.map(({ entry }): Epoch => entry)
    const size = this.shown.registrySize ?? all.length
    const log = new SampleLog(all, registrySigner)
    if (rest === 'vkeys') return { body: `${REGISTRY_VKEY}\n` }
    if (rest === 'checkpoint') {
      const note = await log.note(size)
      return { body: cosign === undefined ? note : await cosign(note) }
    }
    const bytes = all.slice(0, size).map((entry) => new TextEncoder().encode(encodeRegistryEntry(entry)))
    return tileOf(rest, bytes, log.leaves.slice(0, size))
  }
}

const notFound: Answer = { status: 404, body: JSON.stringify({ code: 'not_found', detail: 'There is no such thing.' }) }
const json = (value: object): Answer => ({
  body: JSON.stringify(value),
  headers: { 'content-type': 'application/json' },
})

function tileOf(path: string, entries: readonly Uint8Array[], leaves: readonly Uint8Array[]): Answer {
  const id = parseTilePath(path)
  const body = id === undefined ? undefined : tileBytes(id, entries, leaves)
  return body === undefined ? notFound : { body }
}

function tileBytes({ level, index, width }: TileId, entries: readonly Uint8Array[], leaves: readonly Uint8Array[]) {
  if (level === 'entries') {
    const some = entries.slice(index * TILE_WIDTH, index * TILE_WIDTH + width)
    return some.length === width ? encodeBundle(some) : undefined
  }
  const span = TILE_WIDTH ** level
  const first = index * TILE_WIDTH * span
  if (first + width * span > leaves.length) return undefined
  const hashes = Array.from({ length: width }, (_, at) =>
    treeRoot(nodeSha256, leaves.slice(first + at * span, first + (at + 1) * span)),
  )
  return concatBytes(hashes)
}
