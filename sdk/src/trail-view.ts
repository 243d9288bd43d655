/** A trail and its place in the registry as the server shows them, read with bounds: it may be the accused. */
import { createHash } from 'node:crypto'
import {
  type Checkpoint,
  decodeBundle,
  decodeRegistryEntry,
  EntryError,
  type EpochHead,
  FormatError,
  followSuccession,
  type Hash,
  NoteError,
  parseCheckpoint,
  parseNote,
  parseSlotProof,
  parseSuccession,
  parseVkey,
  proveInclusion,
  type ReadTile,
  readNodeFromTiles,
  type Succession,
  TILE_WIDTH,
  type TileId,
  tilePath,
  tileWidth,
  type VerifierKey,
  verifyEd25519,
  verifyInclusion,
  verifyNote,
  vkeyUnder,
} from '@affidavit/trail'
import { AffidavitError } from './error.ts'
import type { Reply, Request } from './transport.ts'

export type Ask = (request: Request) => Promise<Reply>

export const nodeSha256: Hash = (data) => createHash('sha256').update(data).digest()

const NOTE_BYTES = 1_000_000
const SUCCESSION_BYTES = 3_000_000
const TILE_BYTES = 256 * 32
const BUNDLE_BYTES = 256 * (2 + 65_535)
/** Level-0 tiles kept at a time: receipts of one trail come in the order of their entries. */
const KEPT_TILES = 64

export interface TrailView {
  /** Newest checkpoint, signed by one of `keys`. */
  readonly checkpoint: Checkpoint
  readonly note: string
  /** Keys of the log under the trail's name: those pinned, and those that they were followed to. */
  readonly keys: readonly VerifierKey[]
  /** How the pinned keys lead to the others, once that was asked for. */
  readonly succession: Succession | undefined
  /**
   * Asks the registry for keys that the known ones have named. @returns whether there are more than before
   * Throws AffidavitError, NoteError, RangeError.
   */
  follow(): Promise<boolean>
  /** The leaf at `seq` with a proof that holds, or undefined where the server's tiles do not give the signed root. */
  leafAt(seq: number): Promise<{ leaf: Uint8Array; proof: Uint8Array[] } | undefined>
}

/** Throws AffidavitError, NoteError, RangeError. @param vkeys pins; none: the key that the server names */
export async function openTrail(ask: Ask, tenant: string, trail: string, vkeys: readonly string[]): Promise<TrailView> {
  const path = `/v1/trails/${encodeURIComponent(tenant)}`
  const { body } = await ask({ method: 'GET', path })
  const { vkey } = body as { vkey?: unknown }
  if (typeof vkey !== 'string') throw unexpected('the server does not describe a trail')
  const keys = new LogKeys(ask, trail, vkeys, vkey)
  const note = await text(ask, `${path}/checkpoint?trail=${trail}`)
  const checkpoint = parseCheckpoint(parseNote(note).text)
  const isSigned = async () => {
    const { verified } = await verifyNote(verifyEd25519, note, keys.all)
    return verified.some(({ name }) => name === checkpoint.origin)
  }
  if (!(await isSigned()) && !((await keys.follow()) && (await isSigned())))
    throw unexpected(`the checkpoint of ${checkpoint.origin} is not signed by a known key of the log`)
  const readTile = remembered((level, index, width) => tile(ask, path, { level, index, width }, `?trail=${trail}`))
  const read = readNodeFromTiles(nodeSha256, checkpoint.size, readTile)
  return {
    checkpoint,
    note,
    get keys() {
      return keys.all
    },
    get succession() {
      return keys.succession
    },
    follow: () => keys.follow(),
    async leafAt(seq) {
      const [leaf, proof] = await Promise.all([read(0, seq), proveInclusion(nodeSha256, read, seq, checkpoint.size)])
      const holds = verifyInclusion(nodeSha256, leaf, seq, checkpoint.size, proof, checkpoint.root)
      return holds ? { leaf, proof } : undefined
    },
  }
}

/** The log's keys, and what the registry says of those that came after them. */
class LogKeys {
  all: readonly VerifierKey[]
  succession: Succession | undefined
  readonly #ask: Ask
  readonly #trail: string
  readonly #pins: readonly VerifierKey[]
  /** Else the server's word is taken for its keys. */
  readonly #isPinned: boolean
  #isFollowed = false

  /** @param vkeys pins @param vkey the key that the server names. Throws NoteError */
  constructor(ask: Ask, trail: string, vkeys: readonly string[], vkey: string) {
    this.#ask = ask
    this.#trail = trail
    this.#isPinned = vkeys.length > 0
    this.#pins = (this.#isPinned ? vkeys : [vkey]).map((one) => parseVkey(nodeSha256, one))
    this.all = this.#pins.map((pin) => this.#own(pin))
  }

  #own(key: VerifierKey): VerifierKey {
    return vkeyUnder(nodeSha256, key, `${logName(key)}/${this.#trail}`)
  }

  async follow(): Promise<boolean> {
    if (this.#isFollowed) return false
    this.#isFollowed = true
    const keys = this.#isPinned ? await this.#successors() : await this.#named()
    const before = this.all.length
    this.all = [...this.all, ...keys.map((key) => this.#own(key))].filter(
      (key, at, all) => all.findIndex(({ publicKey }) => Buffer.compare(publicKey, key.publicKey) === 0) === at,
    )
    return this.all.length > before
  }

  async #successors(): Promise<readonly VerifierKey[]> {
    const document = await text(this.#ask, '/v1/registry/succession', SUCCESSION_BYTES).catch((error: unknown) => {
      if (error instanceof AffidavitError && error.status === 404) return undefined
      throw error
    })
    if (document === undefined) return []
    const succession = read(() => parseSuccession(document))
    const origin = succession.checkpoint.slice(0, succession.checkpoint.indexOf('\n'))
    const pins = this.#pins.filter((pin) => origin.startsWith(`${logName(pin)}/registry`))
    const followed = await followSuccession(nodeSha256, verifyEd25519, succession, pins)
    if (followed.outcome === 'refused') throw unexpected(followed.message)
    this.succession = succession
    return followed.keys
  }

  async #named(): Promise<readonly VerifierKey[]> {
    const lines = (await text(this.#ask, '/v1/registry/vkeys')).split('\n').filter((line) => line !== '')
    return lines.map((line) => parseVkey(nodeSha256, line))
  }
}

/**
 * The trail's head in the newest epoch, as the registry proves it. Nothing of it is checked here.
 * Throws AffidavitError, NoteError, RangeError.
 */
export async function epochHeadOf(ask: Ask, tenant: string): Promise<EpochHead> {
  const slotText = await text(ask, `/v1/trails/${encodeURIComponent(tenant)}/slot?epoch=latest`)
  const checkpoint = await text(ask, '/v1/registry/checkpoint')
  const { size } = parseCheckpoint(parseNote(checkpoint).text)
  const slot = read(() => parseSlotProof(slotText))
  if (slot.index >= size) throw unexpected("the slot's epoch is not in the registry yet")
  const index = Math.floor(slot.index / TILE_WIDTH)
  const path = '/v1/registry'
  const bundle = await tile(ask, path, { level: 'entries', index, width: tileWidth('entries', index, size) })
  const bytes = decodeBundle(bundle)?.[slot.index % TILE_WIDTH]
  if (bytes === undefined) throw unexpected('a bundle of the registry is too short')
  const entry = read(() => decodeRegistryEntry(bytes))
  if (entry.kind !== 'epoch') throw unexpected('the slot names a registry entry that is no epoch')
  const readTile: ReadTile = (level, index, width) => tile(ask, path, { level, index, width })
  const node = readNodeFromTiles(nodeSha256, size, readTile)
  const proof = await proveInclusion(nodeSha256, node, slot.index, size)
  return { slot, entry, registry: { index: slot.index, proof, checkpoint } }
}

/** `<log name>/<trail id>` or `<log name>/registry` without its last part. */
const logName = ({ name }: VerifierKey) => name.slice(0, Math.max(0, name.lastIndexOf('/')))

function read<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof FormatError || error instanceof EntryError) throw unexpected(error.message)
    throw error
  }
}

const unexpected = (detail: string) => new AffidavitError({ status: 200, code: 'unexpected_reply', detail })

async function bytes(ask: Ask, path: string, mostBytes: number): Promise<Uint8Array> {
  return (await ask({ method: 'GET', path, mostBytes })).body as Uint8Array
}

async function text(ask: Ask, path: string, limit = NOTE_BYTES): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await bytes(ask, path, limit))
  } catch (error) {
    if (error instanceof TypeError) throw new NoteError('malformed', 'the answer is not UTF-8')
    throw error
  }
}

const tile = (ask: Ask, path: string, id: TileId, query = ''): Promise<Uint8Array> =>
  bytes(ask, `${path}/${tilePath(id)}${query}`, id.level === 'entries' ? BUNDLE_BYTES : TILE_BYTES)

/** Asks for each tile once, as long as it is among the last few. */
function remembered(read: ReadTile): ReadTile {
  const tiles = new Map<string, ReturnType<ReadTile>>()
  return (level, index, width) => {
    const name = `${level}/${index}`
    const known = tiles.get(name)
    const answer = known ?? read(level, index, width)
    tiles.delete(name)
    tiles.set(name, answer)
    if (tiles.size > KEPT_TILES) tiles.delete(tiles.keys().next().value!)
    return answer
  }
}
