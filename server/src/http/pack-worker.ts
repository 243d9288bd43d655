// The making of packs as a task of a background thread, with pools and keys of its own: a million events are read, opened,
// packed and hashed without a request waiting for any of it. Started by pack-thread.ts.
import { openLogKeys, trailName } from '../keys/log-key.ts'
import { openProvider } from '../keys/open-provider.ts'
import { Personas } from '../keys/personas.ts'
import { KeyChest } from '../keys/tenant-keys.ts'
import { Events } from '../query/events.ts'
import { Proofs } from '../query/proof.ts'
import type { OpenTask } from '../store/background.ts'
import { isUnavailable, openDatabase } from '../store/database.ts'
import { Tenants } from '../tenants/tenants.ts'
import { type MakingParts, makePack } from './pack-make.ts'
import { type FromPacks, type PackSettings, piecesAhead, type ToPacks, type WantedPack } from './pack-thread.ts'
import { Refused, refuse } from './refused.ts'

/** What goes to the other thread at once; a member may be many times larger or smaller. */
const pieceBytes = 256 * 1024
const tenantsHeld = 1_000

export const openTask: OpenTask<PackSettings, ToPacks, FromPacks> = async (settings, { log, send }) => {
  const provider = await openProvider({ ...settings.keys, mayCreateRoot: false })
  const { log: logKey } = await openLogKeys(settings.keys.folder, provider, false)
  const store = openDatabase({
    login: settings.login,
    log,
    connections: { reader: 4, operator_reader: 4, keeper: 2 },
  })
  const keeper = store.pool('keeper')
  const tenants = new Tenants({ keeper, chest: new KeyChest(provider), capacity: tenantsHeld })
  const origin = (trailId: string) => trailName(settings.logName, trailId)
  const vkey = (trailId: string) => logKey.vkey(origin(trailId))
  /** Nobody tells this thread of erasures, so no pack begins with people that another one opened. */
  const freshParts = (): MakingParts => {
    const personas = new Personas({ keeper, provider })
    const [proofs, events] = [new Proofs({ store, personas }), new Events({ store, personas })]
    return { store, personas, proofs, events, origin, vkey }
  }
  const running = new Map<number, { readonly allowance: Allowance; readonly done: Promise<void> }>()

  async function make(id: number, { reader, asked }: WantedPack, allowance: Allowance): Promise<void> {
    try {
      const tenant = await tenants.get(reader.tenant)
      if (tenant === undefined) throw refuse('not_found', 'There is no such tenant, or the key may not know of it.')
      const { chunks, type, headers } = await makePack(freshParts(), { ...reader, tenant }, asked)
      send({ id, type: 'head', media: type, headers })
      for await (const bytes of pieces(chunks)) {
        if (!(await allowance.take())) return
        send({ id, type: 'piece', bytes })
      }
      send({ id, type: 'end' })
    } catch (error) {
      if (error instanceof Refused) return send({ id, type: 'refused', problem: error.problem, headers: error.headers })
      log.warn({ err: error }, 'a pack could not be made')
      send({ id, type: 'failed', unavailable: isUnavailable(error), message: (error as Error).message })
    } finally {
      running.delete(id)
    }
  }

  return {
    receive(message) {
      const { id, type } = message
      if (type === 'more') running.get(id)?.allowance.add(message.pieces)
      else if (type === 'cancel') running.get(id)?.allowance.end()
      else {
        const allowance = new Allowance(piecesAhead)
        running.set(id, { allowance, done: Promise.resolve() })
        running.set(id, { allowance, done: make(id, message, allowance) })
      }
    },
    async stop() {
      const left = [...running.values()]
      for (const { allowance } of left) allowance.end()
      await Promise.all(left.map(({ done }) => done))
      await store.end()
    },
  }
}

/** How many pieces may still be sent. */
class Allowance {
  #left: number
  #isOver = false
  #wake: (() => void) | null = null

  constructor(pieces: number) {
    this.#left = pieces
  }

  add(pieces: number): void {
    this.#left += pieces
    this.#wake?.()
  }

  /** Nobody takes any more. */
  end(): void {
    this.#isOver = true
    this.#wake?.()
  }

  /** Resolves when a piece may be sent, with false when none may be any more. */
  async take(): Promise<boolean> {
    while (this.#left === 0 && !this.#isOver) {
      await new Promise<void>((wake) => {
        this.#wake = wake
      })
    }
    this.#left--
    return !this.#isOver
  }
}

/**
 * The same bytes in pieces of one size: a message carries the whole buffer in which its bytes lie. Each piece is good until
 * the next is asked for.
 */
async function* pieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const piece = new Uint8Array(pieceBytes)
  let filled = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + pieceBytes - filled)
      piece.set(part, filled)
      filled += part.length
      at += part.length
      if (filled < pieceBytes) continue
      yield piece
      filled = 0
    }
  }
  if (filled > 0) yield piece.slice(0, filled)
}
