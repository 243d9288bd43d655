/** The registry's log as a server shows it, read with bounds: it belongs to the party under check. */
import { type TileId, tilePath } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { type Remote, ServerRefused } from '../../remote.ts'
import { NOTE_LIMIT, type Served, served, TILE_LIMIT, textOf } from '../server/log.ts'

/** Registry entries have at most 16 KiB each. */
const BUNDLE_LIMIT = 256 * (2 + 16_384)
const PROOF_LIMIT = 64 * 1024
const SUCCESSION_LIMIT = 3_000_000

export class RegistryLog {
  private readonly remote: Remote

  constructor(remote: Remote) {
    this.remote = remote
  }

  /** The newest checkpoint with its cosignatures; undefined where there is no registry, or none yet. */
  async checkpoint(): Promise<string | undefined> {
    try {
      return textOf(await this.remote.bytes('/v1/registry/checkpoint', { limit: NOTE_LIMIT }), 'registry checkpoint')
    } catch (error) {
      if (error instanceof ServerRefused && (error.status === 404 || error.code === 'not_notarized')) return undefined
      throw error
    }
  }

  /** The keys that the server names for the registry: the log's, successors, then the recovery key. */
  async vkeys(): Promise<string[]> {
    const text = textOf(await this.remote.bytes('/v1/registry/vkeys', { limit: NOTE_LIMIT }), 'list of keys')
    return text.split('\n').filter((line) => line !== '')
  }

  /** How log keys followed one another; undefined where the server does not say. */
  async succession(): Promise<string | undefined> {
    const answer = await served(() => this.remote.bytes('/v1/registry/succession', { limit: SUCCESSION_LIMIT }))
    return answer.ok ? textOf(answer.value, 'succession') : undefined
  }

  tile(tile: TileId): Promise<Served<Uint8Array>> {
    const limit = tile.level === 'entries' ? BUNDLE_LIMIT : TILE_LIMIT
    return served(() => this.remote.bytes(`/v1/registry/${tilePath(tile)}`, { limit }))
  }

  /** The proof of what stands in a tenant's slot in one epoch. */
  slot(tenant: string, epoch: number): Promise<Served<Uint8Array>> {
    const path = `/v1/trails/${encodeURIComponent(tenant)}/slot?epoch=${epoch}`
    return served(() => this.remote.bytes(path, { limit: PROOF_LIMIT }))
  }

  /** A tile whose absence ends what is being done. Throws NotServed. */
  async need(tile: TileId): Promise<Uint8Array> {
    const answer = await this.tile(tile)
    if (!answer.ok) throw new NotServed(`${tilePath(tile)} of the registry is not served: ${answer.why}`)
    return answer.value
  }
}

/** The server refuses what its own checkpoint says exists. */
export class NotServed extends Failure {}
