/**
 * Following the registry: the one log over all trails of a deployment, which witnesses see. A trail cannot be forked or
 * rolled back without another head in its slot, so a verifier holds the trail against its slot in every audit epoch
 * since the last visit and in the newest one, and the registry against what was kept and what witnesses have cosigned.
 */
import {
  type Checkpoint,
  type Epoch,
  equalBytes,
  logOfRegistry,
  NoteError,
  parseCheckpoint,
  parseNote,
  readableVkeys,
  registryOrigin,
  type SlotProof,
  TILE_WIDTH,
  type TrustPolicy,
  type VerifierKey,
  verifyConsistency,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { isSigned, keysFor } from '../brought/brought.ts'
import type { Kept } from '../brought/kept.ts'
import { nodeSha256 } from '../node-hash.ts'
import { ahead } from '../server/ahead.ts'
import { failed, type RegistryFinding, unchecked } from './finding.ts'
import { NotServed, type RegistryLog } from './log.ts'
import { readSlot } from './slot-shown.ts'
import { type RegistryEpoch, type RegistryWalk, registryConsistency, registryRoot, walkRegistry } from './walk.ts'
import { ageFinding, asksWitnesses, checkWitnesses } from './witnesses.ts'

/** What an epoch binds for the tenant's slot. */
export interface SlotHead {
  readonly epoch: number
  readonly time: string
  readonly isNewest: boolean
  /** Or why the server does not show it. */
  readonly body: Checkpoint | { readonly refused: string }
  /** What shows that, under the registry's checkpoint. */
  readonly shown?: { readonly slot: SlotProof; readonly entry: Epoch }
  /** Where an authority stamped it: nothing that it binds can have been sealed later (ms since 1970). */
  readonly latest?: number
}

export interface RegistryOptions {
  readonly log: RegistryLog
  readonly tenant: string
  /** Of the trail that is verified. */
  readonly logName: string
  /** Keys of the log that come from outside; undefined: none. */
  readonly pins: readonly VerifierKey[] | undefined
  readonly recovery: readonly VerifierKey[]
  /** Registry checkpoints from earlier, the state file's first. */
  readonly kept: readonly Kept[]
  readonly policy: TrustPolicy | undefined
  readonly maxAgeMs: number
  /** ms since 1970. */
  readonly now: number
  readonly progress: (done: number, of: number) => void
}

export interface Registry {
  readonly origin: string
  readonly size: number
  readonly note: string
  readonly newest: RegistryEpoch | undefined
  readonly audits: number
  readonly heads: readonly SlotHead[]
  /** Log keys, each named by the one before, the last in force; undefined where none came from outside. */
  readonly keys: readonly VerifierKey[] | undefined
  /** Keys that the server itself names, where none came from outside. */
  readonly named: readonly VerifierKey[]
  /** Witnesses whose cosignature was asked for and is there. */
  readonly cosigned: readonly string[]
  /** Whether something from outside agrees: a quorum of witnesses, a kept registry checkpoint. */
  readonly isAnchored: boolean
  readonly findings: readonly RegistryFinding[]
  readonly notes: readonly string[]
}

/** A first visit looks at so many entries, the newest: more than two months of epochs. */
const FIRST_VISIT = 100_000
const PROOFS_AHEAD = 4
/** Slots of epochs that are no audit epochs are shown for seven days; nobody is called a liar within the last of them. */
const BODIES_KEPT_MS = 6 * 86_400_000

/** Undefined where the server has no registry yet and none was ever seen. Throws Failure, ServerRefused. */
export async function followRegistry(options: RegistryOptions): Promise<Registry | RegistryFinding | undefined> {
  const note = await options.log.checkpoint()
  if (note !== undefined) return new Following(options, note, headOf(note)).follow()
  const [known] = options.kept
  if (known !== undefined)
    return failed('registry_gone', `the server shows no registry any more; ${known.label} has ${known.size} entries`)
  if (!asksWitnesses(options.policy)) return undefined
  return unchecked('no_registry', 'the server has no registry checkpoint yet, so no witness can have cosigned one')
}

function headOf(note: string): Checkpoint {
  try {
    return parseCheckpoint(parseNote(note).text)
  } catch (error) {
    if (error instanceof NoteError) throw new Failure(`The registry checkpoint is none: ${error.message}.`)
    throw error
  }
}

class Following {
  private readonly options: RegistryOptions
  private readonly note: string
  private readonly head: Checkpoint
  private readonly findings: RegistryFinding[] = []
  private readonly notes: string[] = []
  private isAnchored = false
  private named: readonly VerifierKey[] = []

  constructor(options: RegistryOptions, note: string, head: Checkpoint) {
    this.options = options
    this.note = note
    this.head = head
  }

  async follow(): Promise<Registry> {
    const { origin, size } = this.head
    if (logOfRegistry(origin) !== this.options.logName)
      throw new Failure(`The registry is ${origin}, which is not that of the log ${this.options.logName}.`)
    let walk: RegistryWalk | undefined
    let heads: SlotHead[] = []
    try {
      walk = await this.walk()
      await this.checkKept(walk)
      heads = await this.slots(walk)
    } catch (error) {
      if (!(error instanceof NotServed)) throw error
      this.findings.push(failed('registry_not_served', error.message))
    }
    const keys = await this.signature(walk)
    const { policy, now, maxAgeMs, kept } = this.options
    const witnessed = await checkWitnesses(this.note, policy, now - maxAgeMs)
    this.findings.push(...witnessed.findings)
    this.isAnchored ||= witnessed.isQuorum
    const old = ageFinding(walk?.newest, now - maxAgeMs)
    if (old !== undefined && (kept.length > 0 || policy !== undefined)) this.findings.push(old)
    else if (old !== undefined) this.notes.push(old.message)
    const isWhole = this.findings.every(({ state }) => state !== 'failed')
    return {
      origin,
      size,
      note: this.note,
      newest: walk?.newest,
      audits: walk?.audits.length ?? 0,
      heads,
      keys,
      named: this.named,
      cosigned: witnessed.cosigned,
      isAnchored: this.isAnchored && isWhole,
      findings: this.findings,
      notes: this.notes,
    }
  }

  /** The kept checkpoint of this very registry from which the walk can start. */
  private get base(): Kept | undefined {
    const { origin, size } = this.head
    return this.options.kept.find((kept) => kept.origin === origin && kept.size <= size)
  }

  private async walk(): Promise<RegistryWalk> {
    const { origin, size } = this.head
    const pinned = keysFor(this.options.pins ?? [], origin)
    const recovery = keysFor(this.options.recovery, origin)
    const key = pinned[0] ?? (await this.serverKey())
    const from = this.base?.size ?? Math.max(0, Math.floor((size - FIRST_VISIT) / 256) * 256)
    const go = (start: number) =>
      walkRegistry(this.options.log, {
        origin,
        size,
        from: start,
        key,
        recovery: [...pinned, ...recovery, ...keysFor(this.named, origin)],
        progress: this.options.progress,
      })
    const walk = await go(from)
    // A key that was pinned long ago may have been succeeded before the walk began.
    const isOld = this.base === undefined && from > 0 && !(await this.isSignedBy(walk.keys.at(-1)))
    const whole = isOld ? await go(0) : walk
    if (!equalBytes(whole.root, this.head.root))
      this.findings.push(
        failed('registry_root', "the registry's entries do not give the root that its checkpoint signs"),
      )
    for (const { code, message } of whole.wrong) this.findings.push(failed(code, message))
    if (whole.unknown > 0)
      this.findings.push(unchecked('unknown_entry', `${whole.unknown} entries of the registry are of an unknown kind`))
    // Else one customer could be shown a second registry beside the first.
    const isFirstSeen = isOld || from < TILE_WIDTH
    if (isFirstSeen && origin !== registryOrigin(this.options.logName) && whole.continues === undefined)
      this.findings.push(failed('registry_replaced', `${origin} does not say which registry it continues`))
    if (this.base === undefined && from > 0 && !isOld)
      this.notes.push(`of the registry the newest ${size - from} of ${size} entries were looked at`)
    return whole
  }

  /** Of the keys that the server names for itself, where none came from outside, the one that signed. */
  private async serverKey(): Promise<VerifierKey | undefined> {
    if (this.options.pins !== undefined) return undefined
    this.named = readableVkeys(nodeSha256, await this.options.log.vkeys())
    for (const key of this.named) if (key.name === this.head.origin && (await this.isSignedBy(key))) return key
    return undefined
  }

  private async isSignedBy(key: VerifierKey | undefined): Promise<boolean> {
    if (key === undefined) return false
    const kept: Kept = { ...this.head, label: '', note: this.note }
    return isSigned(kept, [key])
  }

  private async checkKept(walk: RegistryWalk): Promise<void> {
    const { origin, size, root } = this.head
    for (const kept of this.options.kept) {
      if (kept.origin !== origin) {
        this.checkContinued(kept, walk)
        continue
      }
      if (kept.size > size) {
        const message = `${kept.label} has ${kept.size} entries of the registry, the server now shows ${size}`
        this.findings.push(failed('registry_rolled_back', `${message}: it was rolled back, or this is a stale view`))
        continue
      }
      const isBase = kept === this.base
      const before = isBase ? walk.rootBefore : await registryRoot(this.options.log, kept.size, size)
      if (equalBytes(before, kept.root)) {
        if (isBase || (await this.isPrefix(kept.size, before))) this.isAnchored = true
        else this.findings.push(failed('registry_root', "the registry's tiles do not give the root that it signs"))
        continue
      }
      const isForked = equalBytes(walk.root, root)
      this.findings.push(
        failed(
          isForked ? 'registry_forked' : 'registry_root',
          `the first ${kept.size} entries of the registry are not those of ${kept.label}`,
        ),
      )
    }
  }

  private async isPrefix(older: number, before: Uint8Array): Promise<boolean> {
    const { size, root } = this.head
    if (older === 0) return true
    const proof = await registryConsistency(this.options.log, older, size)
    return verifyConsistency(nodeSha256, older, size, proof, before, root)
  }

  /** After the loss of everything a new registry takes the place of the old one, and says so in its first entry. */
  private checkContinued(kept: Kept, { continues }: RegistryWalk): void {
    const { origin } = this.head
    if (continues?.origin !== kept.origin) {
      this.findings.push(
        failed(
          'registry_replaced',
          `${kept.label} is of ${kept.origin}; now there is ${origin}, which does not continue it`,
        ),
      )
      return
    }
    const lost = kept.size - continues.size
    const isSame = lost === 0 && equalBytes(continues.root, kept.root)
    if (isSame) this.isAnchored = true
    else if (lost === 0)
      this.findings.push(failed('registry_forked', `${origin} continues another ${kept.origin} than ${kept.label} has`))
    else
      this.findings.push(
        unchecked(
          'registry_gap',
          lost > 0
            ? `${origin} continues ${kept.origin} at ${continues.size} entries; ${kept.label} has ${lost} more, which are lost`
            : `${origin} continues ${kept.origin} at ${continues.size} entries, ${-lost} more than ${kept.label}: nobody serves them any more`,
        ),
      )
  }

  /** @returns the chain of keys, if one from outside stands at its beginning */
  private async signature(walk: RegistryWalk | undefined): Promise<readonly VerifierKey[] | undefined> {
    const { pins } = this.options
    const { origin } = this.head
    if (pins === undefined) {
      if (walk !== undefined && !(await this.isSignedBy(walk.keys.at(-1))))
        this.findings.push(failed('registry_not_signed', 'no key that the server itself names has signed the registry'))
      return undefined
    }
    const pinned = keysFor(pins, origin)
    const chain = walk?.keys ?? []
    const inForce = chain.length > 1 ? chain.slice(-1) : pinned
    for (const key of inForce) if (await this.isSignedBy(key)) return [...pinned, ...chain.slice(1)]
    this.findings.push(
      failed(
        chain.length > 1 ? 'registry_not_signed' : 'key_replaced',
        chain.length > 1
          ? 'the registry is not signed by the key that its last succession names'
          : 'the registry is not signed by the known key of the log, and no entry signed by that key names another',
      ),
    )
    return [...pinned, ...chain.slice(1)]
  }

  private async slots(walk: RegistryWalk): Promise<SlotHead[]> {
    const heads: SlotHead[] = []
    const { newest } = walk
    const epochs = this.epochs(walk)
    const { log, tenant } = this.options
    for await (const { item, result } of ahead(epochs, PROOFS_AHEAD, ({ entry }) => log.slot(tenant, entry.epoch))) {
      const { entry } = item
      const { epoch, time } = entry
      const about = { epoch, time, isNewest: item === newest }
      if (!result.ok) heads.push({ ...about, body: { refused: result.why } })
      else {
        const slot = readSlot(result.value, item, this.options.logName)
        if ('verdict' in slot) this.findings.push(slot)
        else heads.push({ ...about, body: parseCheckpoint(slot.body), shown: { slot, entry } })
      }
    }
    return heads
  }

  /** Epochs whose slot is looked at, in their order: all audit epochs, the newest of the last visit, and the newest. */
  private epochs({ audits, newest, visited }: RegistryWalk): RegistryEpoch[] {
    const isKept = visited !== undefined && this.options.now - Date.parse(visited.entry.time) < BODIES_KEPT_MS
    const some = [...audits, visited !== undefined && this.base !== undefined && isKept ? visited : undefined, newest]
    return [...new Set(some)].filter((epoch) => epoch !== undefined).sort((a, b) => a.index - b.index)
  }
}
