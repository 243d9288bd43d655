/**
 * Where the log has signed two things that cannot both be true, what it signed is put together as an accusation: a file
 * that proves it to anybody who knows the log's key (docs/spec/accusation.md). Nothing is written that does not convict.
 */
import {
  type Accusation,
  type Checkpoint,
  type EpochHead,
  equalBytes,
  FormatError,
  formatAccusation,
  type Head,
  joinPeaks,
  nodesOf,
  parseCheckpoint,
  parseSuccession,
  proveConsistency,
  proveInclusion,
  type ReadNode,
  readNodeFromTiles,
  type Succession,
  type VerifierKey,
  verifyAccusation,
  verifyEd25519,
} from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { ServerRefused } from '../../remote.ts'
import type { Kept } from '../brought/kept.ts'
import { nodeSha256 } from '../node-hash.ts'
import { NotServed, type RegistryLog } from '../registry/log.ts'
import type { Registry, SlotHead } from '../registry/registry.ts'
import { nodeOf } from '../registry/walk.ts'
import type { ServerLog } from '../server/log.ts'

export interface Shown {
  /** The trail's checkpoint. */
  readonly note: string
  readonly checkpoint: Checkpoint
  /** Checkpoints of the trail and of the registry from before. */
  readonly kept: readonly Kept[]
  readonly registry: Registry | undefined
  /** Keys of the log, from outside or else as the server names them. */
  readonly keys: readonly VerifierKey[]
}

export interface Accused {
  readonly text: string
  /** What the log said, in words. */
  readonly message: string
}

/** The first accusation that convicts; undefined where the log did not contradict itself in what it signed. */
export async function accuse(log: ServerLog, registryLog: RegistryLog, shown: Shown): Promise<Accused | undefined> {
  return new Prosecution(log, registryLog, shown).run()
}

type Bound = SlotHead & { readonly body: Checkpoint; readonly shown: NonNullable<SlotHead['shown']> }

class Prosecution {
  private readonly log: ServerLog
  private readonly registryLog: RegistryLog
  private readonly shown: Shown
  private succession: Promise<Succession | undefined> | undefined

  constructor(log: ServerLog, registryLog: RegistryLog, shown: Shown) {
    this.log = log
    this.registryLog = registryLog
    this.shown = shown
  }

  async run(): Promise<Accused | undefined> {
    for (const make of [() => this.ofTrail(), () => this.ofRegistry(), () => this.ofEpochs(), () => this.shrunk()]) {
      const accused = await make().catch((error: unknown) => {
        // What the server does not show cannot be used against it; that it does not is a finding of its own.
        if (error instanceof Failure || error instanceof ServerRefused || error instanceof RangeError) return undefined
        throw error
      })
      if (accused !== undefined) return accused
    }
    return undefined
  }

  /** A kept checkpoint of the trail against the one that is shown. */
  private async ofTrail(): Promise<Accused | undefined> {
    const { kept, checkpoint, note } = this.shown
    for (const one of kept.filter(({ origin }) => origin === checkpoint.origin)) {
      const accused = await this.fork({ checkpoint: one.note }, one, { checkpoint: note }, checkpoint, this.trailNode())
      if (accused !== undefined) return accused
    }
    return undefined
  }

  /** The same of the registry. */
  private async ofRegistry(): Promise<Accused | undefined> {
    const { kept, registry } = this.shown
    if (registry === undefined) return undefined
    const head = parseHead(registry.note)
    for (const one of kept.filter(({ origin }) => origin === registry.origin)) {
      const node = nodeOf(this.registryLog, head.size)
      const accused = await this.fork({ checkpoint: one.note }, one, { checkpoint: registry.note }, head, node)
      if (accused !== undefined) return accused
    }
    return undefined
  }

  /** What an epoch binds against the trail's checkpoint. */
  private async ofEpochs(): Promise<Accused | undefined> {
    const { checkpoint, note } = this.shown
    for (const bound of this.bound()) {
      if (bound.body.size > checkpoint.size || (await this.isPrefix(bound.body))) continue
      const said = await this.epochHead(bound)
      const accused = await this.fork(said, bound.body, { checkpoint: note }, checkpoint, this.trailNode())
      if (accused !== undefined) return accused
    }
    return undefined
  }

  private async isPrefix({ size, root }: Checkpoint): Promise<boolean> {
    const { checkpoint } = this.shown
    return equalBytes(root, size === checkpoint.size ? checkpoint.root : await rootAt(this.trailNode(), size))
  }

  /** An epoch that binds less than one before it. */
  private async shrunk(): Promise<Accused | undefined> {
    let largest: Bound | undefined
    for (const bound of this.bound()) {
      if (largest !== undefined && bound.body.size < largest.body.size)
        return this.judged({
          kind: 'shrunk',
          said: await this.epochHead(largest),
          head: await this.epochHead(bound),
        })
      largest = bound
    }
    return undefined
  }

  /** Heads of this trail in the epochs that were looked at, in their order. */
  private bound(): Bound[] {
    const { registry, checkpoint } = this.shown
    return (registry?.heads ?? []).flatMap((head) => {
      const { body, shown } = head
      return 'origin' in body && body.origin === checkpoint.origin && shown !== undefined
        ? [{ ...head, body, shown }]
        : []
    })
  }

  private async epochHead({ shown: { slot, entry } }: Bound): Promise<EpochHead> {
    const { note, size } = this.shown.registry!
    const proof = await proveInclusion(nodeSha256, nodeOf(this.registryLog, size), slot.index, size)
    return { slot, entry, registry: { index: slot.index, proof, checkpoint: note } }
  }

  /** @param node of the tree under `head` */
  private async fork(
    said: Head,
    { size, root }: Checkpoint,
    head: Head,
    known: Checkpoint,
    node: ReadNode,
  ): Promise<Accused | undefined> {
    if (size === 0 || size > known.size) return undefined
    const prefix = size === known.size ? known.root : await rootAt(node, size)
    if (equalBytes(prefix, root)) return undefined
    const proof = size === known.size ? [] : await proveConsistency(nodeSha256, node, size, known.size)
    return this.judged({ kind: 'fork', said, head, prefix, proof })
  }

  /** With how the keys followed one another where that is needed, if it convicts. */
  private async judged(accusation: Accusation): Promise<Accused | undefined> {
    this.succession ??= this.followed()
    const succession = await this.succession
    // A succession comes from the accused: where it spoils the case, the case has to stand without it.
    for (const whole of [...(succession === undefined ? [] : [{ ...accusation, succession }]), accusation]) {
      const verdict = await verifyAccusation(nodeSha256, verifyEd25519, whole, this.shown.keys)
      if (verdict.outcome === 'proven') return { text: formatAccusation(whole), message: verdict.message }
    }
    return undefined
  }

  private async followed(): Promise<Succession | undefined> {
    const text = await this.registryLog.succession()
    try {
      const succession = text === undefined ? undefined : parseSuccession(text)
      return succession !== undefined && succession.successors.length > 0 ? succession : undefined
    } catch (error) {
      if (error instanceof FormatError) return undefined
      throw error
    }
  }

  private trailNode(): ReadNode {
    return readNodeFromTiles(nodeSha256, this.shown.checkpoint.size, async (level, index, width) => {
      const answer = await this.log.tile({ level, index, width })
      if (!answer.ok) throw new NotServed(answer.why)
      return answer.value
    })
  }
}

const parseHead = (note: string): Checkpoint => parseCheckpoint(note.slice(0, note.lastIndexOf('\n\n') + 1))

async function rootAt(node: ReadNode, size: number): Promise<Uint8Array> {
  const peaks = await Promise.all(nodesOf({ from: 0, to: size }).map(({ level, index }) => node(level, index)))
  return joinPeaks(nodeSha256, peaks)
}
