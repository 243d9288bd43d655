// What proves one event: its entry, the inclusion proof and the checkpoint that it leads to.

import type { TileId } from '@affidavit/trail'
import { proveInclusion, readNodeFromTiles } from '@affidavit/trail'
import type { Personas } from '../keys/personas.ts'
import type { Database, Queryable } from '../store/database.ts'
import { sha256 } from '../store/sha256.ts'
import { readEntries, type SealedEntry } from './entries.ts'
import { findId, poolFor } from './events.ts'
import type { Reader } from './row.ts'
import { readSpans, readTrails, type Trail } from './spans.ts'
import { readNotarized, readTile, type TileSource, tileReader } from './tiles.ts'

export interface InclusionProof {
  readonly kind: 'proof'
  readonly trail: Trail
  readonly entry: SealedEntry
  /** RFC 6962 audit path from the leaf up, 32 bytes each. */
  readonly hashes: readonly Uint8Array[]
  /** Entries that the checkpoint covers, and the checkpoint as a signed note. */
  readonly size: number
  readonly checkpoint: string
}

export type ProofOutcome =
  | InclusionProof
  | { readonly kind: 'not_found' }
  /** The newest checkpoint does not reach the entry; if it is sealed, ask again in a second. */
  | { readonly kind: 'not_notarized_yet'; readonly trail: Trail; readonly seq: number }

export type PathOutcome = Pick<InclusionProof, 'kind' | 'hashes' | 'checkpoint'> | Exclude<ProofOutcome, InclusionProof>

/** Reads trails in the forms that verifiers take. One snapshot per call. */
export class Proofs {
  readonly #store: Database
  readonly #personas: Personas

  constructor(options: { store: Database; personas: Personas }) {
    this.#store = options.store
    this.#personas = options.personas
  }

  /** @throws StoreUnavailable, KeyUnusable */
  async ofEvent(reader: Reader, id: string): Promise<ProofOutcome> {
    return poolFor(this.#store, reader).asTenant(reader.tenant.number, async (session) => {
      const place = await findId(session, reader, id)
      if (place === undefined) return { kind: 'not_found' }
      return this.#prove(session, reader, place.trail, place.seq)
    })
  }

  /** The same for the entry of that seq, without the entry itself. */
  async ofSeq(reader: Reader, seq: number, trailId?: string): Promise<PathOutcome> {
    const outcome = await this.#withTrail(reader, trailId, async (session, trail): Promise<PathOutcome> => {
      const source = await tileSource(session, reader, trail)
      if (source === undefined || seq >= source.notarized.size) return { kind: 'not_notarized_yet', trail, seq }
      return { kind: 'proof', hashes: await pathOf(source, seq), checkpoint: source.notarized.note }
    })
    return outcome ?? { kind: 'not_found' }
  }

  /** The trail's checkpoint; the newest trail of the tenant unless another is named by its id. */
  async checkpoint(reader: Reader, trailId?: string): Promise<string | undefined> {
    return this.#withTrail(reader, trailId, async (session, trail) => (await readNotarized(session, trail))?.note)
  }

  /** A tile or entry bundle; undefined when the notarized trail has none such. */
  async tile(reader: Reader, tile: TileId, trailId?: string): Promise<Uint8Array | undefined> {
    return this.#withTrail(reader, trailId, async (session, trail) => {
      const source = await tileSource(session, reader, trail)
      return source === undefined ? undefined : readTile(source, tile)
    })
  }

  async #prove(session: Queryable, reader: Reader, trail: Trail, seq: number): Promise<ProofOutcome> {
    const source = await tileSource(session, reader, trail)
    if (source === undefined || seq >= source.notarized.size) return { kind: 'not_notarized_yet', trail, seq }
    const { size, note } = source.notarized
    const [[entry], hashes] = await Promise.all([
      readEntries(session, reader, this.#personas, trail, source.spans, [seq]),
      pathOf(source, seq),
    ])
    if (entry === undefined) return { kind: 'not_found' }
    return { kind: 'proof', trail, entry, hashes, size, checkpoint: note }
  }

  #withTrail<Result>(
    reader: Reader,
    trailId: string | undefined,
    work: (session: Queryable, trail: Trail) => Promise<Result | undefined>,
  ): Promise<Result | undefined> {
    return poolFor(this.#store, reader).asTenant(reader.tenant.number, async (session) => {
      const trails = await readTrails(session, reader.tenant.number)
      const trail = trailId === undefined ? trails.at(-1) : trails.find(({ id }) => id === trailId)
      return trail === undefined ? undefined : work(session, trail)
    })
  }
}

async function tileSource(session: Queryable, reader: Reader, trail: Trail): Promise<TileSource | undefined> {
  const [notarized, spans] = await Promise.all([readNotarized(session, trail), readSpans(session, trail)])
  return notarized === undefined ? undefined : { session, reader, trail, spans, notarized }
}

function pathOf(source: TileSource, seq: number): Promise<Uint8Array[]> {
  const { size } = source.notarized
  return proveInclusion(sha256, readNodeFromTiles(sha256, size, tileReader(source)), seq, size)
}
