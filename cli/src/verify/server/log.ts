/** A trail as a server shows it, read with bounds: the server is the party under check. */
import { type Checkpoint, decodeContent, type Payload, type TileId, tilePath } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { type Remote, ServerRefused } from '../../remote.ts'

/** What the server says of a trail before anything is checked. */
export interface TrailInfo {
  readonly origin: string
  readonly vkey: string
  /** Parts of payloads that the key may not read. */
  readonly withheld: readonly Withheld[]
  /** Ids of earlier trails of the tenant, which this one continues, oldest first. */
  readonly earlier: readonly string[]
}

export type Withheld = 'confidential' | 'operator'

/** What a key can lack. Everything else that a server does not show is missing, whatever it says. */
const KEY_BOUND: readonly Withheld[] = ['confidential', 'operator']
export const NOTE_LIMIT = 1_000_000
export const TILE_LIMIT = 256 * 32
const BUNDLE_LIMIT = 256 * (2 + 16_384)
const TRAIL_ID = /^[0-9a-f]{32}$/
/** A tenant has another trail after a disaster or a move. */
const MOST_TRAILS = 100
/** A payload's parts are at most some hundred KiB each; a line beyond this is no payload. */
const LINE_LIMIT = 64 * 2 ** 20

/** Throws Failure. */
export function textOf(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Failure(`The ${what} that the server gives is not UTF-8.`)
  }
}

/** The server refuses what its own checkpoint says exists. */
export type Served<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string }

export class ServerLog {
  readonly remote: Remote
  readonly tenant: string
  private readonly path: string
  /** An earlier trail of the tenant; undefined: the newest. */
  private readonly trail: string | undefined

  constructor(remote: Remote, tenant: string, trail?: string) {
    this.remote = remote
    this.tenant = tenant
    this.path = `/v1/trails/${encodeURIComponent(tenant)}`
    this.trail = trail
  }

  /** An earlier trail of the same tenant. */
  earlier(trail: string): ServerLog {
    return new ServerLog(this.remote, this.tenant, trail)
  }

  private query(sign = '?'): string {
    return this.trail === undefined ? '' : `${sign}trail=${this.trail}`
  }

  /** Throws ServerRefused, Failure. */
  async info(): Promise<TrailInfo> {
    const { origin, vkey, withheld, trails } = ((await this.remote.json(this.path)) ?? {}) as Record<string, unknown>
    if (typeof origin !== 'string' || typeof vkey !== 'string')
      throw new Failure(`${this.remote.url} does not describe a trail. Is it an Affidavit server?`)
    // A server that does not say may withhold what keys can lack.
    const parts = Array.isArray(withheld) ? KEY_BOUND.filter((part) => withheld.includes(part)) : KEY_BOUND
    const chain = (Array.isArray(trails) ? trails : []).filter((id) => typeof id === 'string' && TRAIL_ID.test(id))
    return { origin, vkey, withheld: parts, earlier: chain.slice(0, -1).slice(-MOST_TRAILS) }
  }

  /** The newest signed checkpoint, or undefined before the first. Throws ServerRefused, Failure. */
  async checkpoint(): Promise<string | undefined> {
    try {
      return textOf(
        await this.remote.bytes(`${this.path}/checkpoint${this.query()}`, { limit: NOTE_LIMIT }),
        'checkpoint',
      )
    } catch (error) {
      if (error instanceof ServerRefused && (error.status === 404 || error.code === 'not_notarized')) return undefined
      throw error
    }
  }

  /** A hash tile or entry bundle. Throws Failure when the server cannot be asked any more. */
  async tile(tile: TileId): Promise<Served<Uint8Array>> {
    const limit = tile.level === 'entries' ? BUNDLE_LIMIT : TILE_LIMIT
    return served(() => this.remote.bytes(`${this.path}/${tilePath(tile)}${this.query()}`, { limit }))
  }

  /** Payloads of the entries from `from` to before `to`, as the server streams them. Throws PackError, Failure … */
  async *content(from: number, to: number): AsyncGenerator<Payload> {
    for await (const line of lines(
      await this.remote.stream(`${this.path}/content?from=${from}&to=${to}${this.query('&')}`),
    )) {
      yield decodeContent(line)
    }
  }
}

/** Asks for what a checkpoint says exists. Throws Failure when the server cannot be asked any more. */
export async function served<T>(read: () => Promise<T>): Promise<Served<T>> {
  try {
    return { ok: true, value: await read() }
  } catch (error) {
    // Wrong keys and limits are ours to mend; what the server then still refuses is a statement about the trail.
    if (error instanceof ServerRefused && (error.status === 404 || error.status === 410 || error.status === 500))
      return { ok: false, why: `${error.message} [${error.code}]` }
    throw error
  }
}

async function* lines(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  // The beginning of a line, in pieces: joined again for each piece, a line without end would cost its square.
  let begun: string[] = []
  let length = 0
  for await (const piece of bytes) {
    const whole = decoded(decoder, piece).split('\n')
    const rest = whole.pop()!
    for (const line of whole) {
      yield length === 0 ? line : begun.join('') + line
      begun = []
      length = 0
    }
    begun.push(rest)
    length += rest.length
    if (length > LINE_LIMIT) throw new Failure('The server sends a line without end.')
  }
  if (length > 0 || decoded(decoder) !== '') throw new Failure('The content that the server sends ends inside a line.')
}

function decoded(decoder: InstanceType<typeof TextDecoder>, piece?: Uint8Array): string {
  try {
    return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true })
  } catch {
    throw new Failure('The content that the server sends is not UTF-8.')
  }
}

/** The trail id that ends an origin, or undefined. */
export function trailOf({ origin }: Pick<Checkpoint, 'origin'>): string | undefined {
  return /\/([0-9a-f]{32})$/.exec(origin)?.[1]
}
