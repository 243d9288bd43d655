/** `affidavit verify URL`: a running server's trail, its place in the registry, and all of its past. */
import {
  type Checkpoint,
  formatVkey,
  logNameOf,
  NoteError,
  parseCheckpoint,
  parseNote,
  readableVkeys,
  type VerdictState,
  type VerifierKey,
} from '@affidavit/trail'
import { keyFor } from '../../config.ts'
import { Failure } from '../../failure.ts'
import { asFailure, Remote, ServerRefused } from '../../remote.ts'
import { count, progressLine, say, type Terminal } from '../../terminal.ts'
import { keepAccusation } from '../accuse/accusation-file.ts'
import { accuse } from '../accuse/accuse.ts'
import {
  type Brought,
  type Held,
  holdAgainst,
  KEPT_NOTE,
  keysFor,
  registryCheckpoints,
  remember,
  subjectOf,
  type VerifyArguments,
} from '../brought/brought.ts'
import { checkChain, type Link, recoveryOf } from '../brought/chain.ts'
import type { Kept } from '../brought/kept.ts'
import { checkColumns } from '../deep/deep.ts'
import { Expected } from '../deep/expected.ts'
import { nodeSha256 } from '../node-hash.ts'
import { type RegistryFinding, unchecked } from '../registry/finding.ts'
import { RegistryLog } from '../registry/log.ts'
import { followRegistry, type Registry } from '../registry/registry.ts'
import { checkSlots, headsOf, keptRegistry, registryExtra, registryFailure, TOO_YOUNG } from '../registry/report.ts'
import { asksWitnesses } from '../registry/witnesses.ts'
import { type Extra, outcomeOf, type Report, stateOf } from '../report.ts'
import { placeOf } from '../server/address.ts'
import { ServerLog, type TrailInfo, trailOf } from '../server/log.ts'
import { concludeLive, type LiveOptions, type LiveResult, verifyLive } from './live.ts'
import { checkLiveTimestamps, type LiveTimestamps, outsideOf } from './timestamps.ts'

const DEFAULT_MAX_AGE_S = 3600
/** How often a trail is looked at that forgets while it is being looked at, and how long its next checkpoint may take. */
const LOOKS = 3
const CHECKPOINT_MS = 10_000
const CHECKPOINT_PAUSE_MS = 500

export async function overHttp(
  address: string,
  options: VerifyArguments,
  brought: Brought,
  terminal: Terminal,
): Promise<Report> {
  const { url, tenant } = placeOf(address, options.tenant)
  const remote = new Remote({ url, key: keyFor(url, options.key, terminal.environment) })
  if (remote.isExposed) say(terminal, `${url} is not encrypted: the key and all events can be read on the way.`)
  const log = new ServerLog(remote, tenant)
  try {
    return await new Visit(log, await log.info(), options, brought, terminal).run()
  } catch (error) {
    throw asFailure(error, 2)
  }
}

/** What one trail of the chain came to. */
interface Visited extends LiveResult {
  readonly info: TrailInfo
  readonly held: Held
  readonly vkeys: readonly VerifierKey[] | undefined
  /** What filters must return, if that is to be compared. */
  readonly expected?: Expected
}

class Visit {
  private readonly log: ServerLog
  private readonly info: TrailInfo
  private readonly options: VerifyArguments
  private readonly brought: Brought
  private readonly bar: ReturnType<typeof progressLine>
  private readonly now = Date.now()
  /** Origins of the chain's earlier trails, oldest first. */
  private readonly earlier: readonly string[]

  constructor(log: ServerLog, info: TrailInfo, options: VerifyArguments, brought: Brought, terminal: Terminal) {
    this.log = log
    this.info = info
    this.options = options
    this.brought = brought
    this.bar = progressLine(terminal)
    this.earlier = info.earlier.map((id) => `${logNameOf(info.origin)}/${id}`)
  }

  async run(): Promise<Report> {
    const followed = await this.registry()
    const timestamps = await this.timestamps(followed)
    const registry = timestamps?.registry ?? followed
    const past: (Visited | string)[] = []
    for (const [at, id] of this.info.earlier.entries())
      past.push(await this.earlierTrail(id, this.earlier[at]!, registry))
    const visited = await this.visit(this.log, this.info, registry, this.options.deep)
    const extras = this.extras(registry, past, visited)
    if (visited.expected !== undefined) extras.push(await this.deep(visited.checkpoint, visited.expected))
    this.bar.clear()
    const state = extras.find(({ name }) => name === 'registry')?.state
    const outside = outsideOf(this.anchored(registry, visited, extras), timestamps, visited.checkpoint, state)
    const verification = concludeLive(visited, keptOf(visited), outside)
    const notes = [...visited.held.notes]
    // Before anything is remembered: what this visit keeps is nothing that it was held against.
    const against = [...visited.held.against, ...this.registryAgainst(registry)]
    const outcome = outcomeOf({ verification, extras })
    if (outcome === 'held') notes.push(...(await this.remember(registry, past, visited)))
    const accusation = outcome === 'tampered' ? await this.accusation(registry, visited, timestamps) : undefined
    if (accusation !== undefined) notes.push(accusation.note)
    const { checkpoint } = visited
    const size = { origin: checkpoint.origin, size: checkpoint.size, covered: checkpoint.size }
    const name = `${this.log.remote.url}, tenant ${this.log.tenant}`
    const subject = subjectOf(name, size, checkpoint, { against })
    return { subject, verification, extras, notes, ...(accusation?.path && { accusation: accusation.path }) }
  }

  /** Where the log contradicts itself in what it has signed: the file that proves it, and a sentence about it. */
  private async accusation(
    registry: Registry | RegistryFinding | undefined,
    visited: Visited,
    timestamps: LiveTimestamps | undefined,
  ) {
    const { checkpoint, note, held, vkeys } = visited
    const shown = {
      checkpoint,
      note,
      kept: [...held.kept, ...this.keptRegistries(logNameOf(checkpoint.origin)), ...(timestamps?.contradicting ?? [])],
      registry: registry !== undefined && 'heads' in registry ? registry : undefined,
      keys: vkeys ?? keysFor([...readableVkeys(nodeSha256, [this.info.vkey]), ...namedBy(registry)], checkpoint.origin),
    }
    const accused = await accuse(this.log, new RegistryLog(this.log.remote), shown)
    return accused && keepAccusation(accused, this.options)
  }

  private keptRegistries(logName: string): readonly Kept[] {
    const known = this.brought.state?.registryOf(logName)
    return [...(known === undefined ? [] : [known.kept]), ...registryCheckpoints(this.brought, logName)]
  }

  // ─── The registry ─────────────────────────────────────────────────────────────────────────────────────────────────

  private async registry(): Promise<Registry | RegistryFinding | undefined> {
    const { state, vkeys, policy } = this.brought
    const logName = logNameOf(this.info.origin)
    const known = state?.registryOf(logName)
    try {
      return await followRegistry({
        log: new RegistryLog(this.log.remote),
        tenant: this.log.tenant,
        logName,
        pins: this.pins(),
        recovery: [...(known?.recovery ?? []), ...vkeys],
        kept: this.keptRegistries(logName),
        policy,
        maxAgeMs: (this.options.maxAge ?? DEFAULT_MAX_AGE_S) * 1000,
        now: this.now,
        progress: (done, of) => this.bar.update(() => `registry: ${count(done)} of ${count(of)}`),
      })
    } catch (error) {
      return registryFailure(error)
    }
  }

  private async timestamps(registry: Registry | RegistryFinding | undefined): Promise<LiveTimestamps | undefined> {
    const options = this.brought.timestamps
    if (options === undefined) return undefined
    const { remote, tenant } = this.log
    const logName = logNameOf(this.info.origin)
    return checkLiveTimestamps({ remote, log: new RegistryLog(remote), tenant, logName, options }, registry)
  }

  /** Keys of the log from outside, the one in force when last seen in front; undefined: none. */
  private pins(): readonly VerifierKey[] | undefined {
    const { state, vkeys } = this.brought
    const known = state?.registryOf(logNameOf(this.info.origin))
    const chain = known === undefined ? [] : [known.key, ...known.succeeded]
    // A key that was given decides; what the state knows beyond it counts if it begins with that key.
    const isRooted = vkeys.length === 0 || keysFor(vkeys, this.info.origin).some((key) => isAmong(key, chain))
    if (isRooted && chain.length > 0) return chain
    if (vkeys.length > 0) return vkeys
    return state?.of(this.info.origin)?.keys
  }

  private registryAgainst(registry: Registry | RegistryFinding | undefined): string[] {
    if (registry === undefined || !('heads' in registry)) return []
    const known = this.brought.state?.registryOf(logNameOf(registry.origin))
    return [
      ...(known === undefined ? [] : [`the registry kept then (size ${count(known.kept.size)})`]),
      ...registryCheckpoints(this.brought, logNameOf(registry.origin)).map(({ label }) => `${label} (registry)`),
      ...(registry.cosigned.length > 0 ? [`witnesses ${registry.cosigned.join(', ')}`] : []),
    ]
  }

  // ─── Trails ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private async visit(
    log: ServerLog,
    info: TrailInfo,
    registry: Registry | RegistryFinding | undefined,
    isDeep = false,
  ): Promise<Visited> {
    const others = [...this.earlier, this.info.origin].filter((origin) => origin !== info.origin)
    const held = holdAgainst(this.brought, info.origin, others)
    const before = this.brought.state?.originAt({ url: this.log.remote.url, tenant: this.log.tenant })
    const vkeys = this.keysOf(info.origin, registry, held)
    const live: Omit<LiveOptions, 'onPayload'> = {
      hash: nodeSha256,
      ...(vkeys !== undefined && { vkeys }),
      named: keysFor(namedBy(registry), info.origin),
      kept: held.kept,
      heads: headsOf(registry, info.origin),
      originBefore: before !== undefined && others.includes(before) ? undefined : before,
      now: this.now,
      progress: (done, of, phase) => this.bar.update(() => `${phase}: ${count(done)} of ${count(of)}`),
    }
    for (let look = 1; ; look++) {
      const expected = isDeep ? new Expected(this.options.deepValues) : undefined
      const onPayload = expected && ((...entry: Parameters<Expected['add']>) => expected.add(...entry))
      const result = await verifyLive(log, info, { ...live, ...(onPayload && { onPayload }) })
      const isFinal = look === LOOKS || !hasUnexplained(result) || !(await grows(log, result.checkpoint.size))
      if (isFinal) return { ...result, info, held, vkeys, ...(expected && { expected }) }
    }
  }

  /** Keys from outside that may have signed a trail, with those that the registry's successions lead to. */
  private keysOf(origin: string, registry: Registry | RegistryFinding | undefined, { vkeys }: Held) {
    const followed = registry !== undefined && 'heads' in registry ? registry.keys : undefined
    // A key that was given for another trail's slot is not outweighed by what it signed elsewhere.
    const given = this.brought.vkeys
    if (given.length > 0 && keysFor(given, origin).length === 0) return []
    const pins = this.pins() ?? vkeys
    return pins === undefined ? undefined : distinct([...keysFor(pins, origin), ...keysFor(followed ?? [], origin)])
  }

  /** An earlier trail of the chain, or why nothing of it could be had. */
  private async earlierTrail(id: string, origin: string, registry: Registry | RegistryFinding | undefined) {
    try {
      return await this.visit(this.log.earlier(id), { ...this.info, origin, earlier: [] }, registry)
    } catch (error) {
      if (error instanceof Failure || error instanceof ServerRefused) return (error as Error).message
      throw error
    }
  }

  private extras(
    registry: Registry | RegistryFinding | undefined,
    past: (Visited | string)[],
    visited: Visited,
  ): Extra[] {
    const trails = past.filter((trail) => typeof trail !== 'string')
    const extras: Extra[] = []
    if (registry !== undefined) {
      const openedAt = (trails[0] ?? visited).openedAt
      const findings = [...trails, visited].flatMap((trail) => trail.registry)
      const slots =
        'heads' in registry ? checkSlots(registry, [...this.earlier, this.info.origin], openedAt) : undefined
      const isAsked = asksWitnesses(this.brought.policy)
      if (slots?.tooYoung === true && isAsked) findings.push(unchecked('not_in_registry', TOO_YOUNG))
      const notes = slots?.tooYoung === true && !isAsked ? [TOO_YOUNG] : []
      extras.push(registryExtra(registry, [...findings, ...(slots?.findings ?? [])], notes))
    }
    const chain = this.chain(past, visited)
    if (chain !== undefined) extras.push(chain)
    return extras
  }

  private chain(past: (Visited | string)[], visited: Visited): Extra | undefined {
    const links = [...past, visited].map(
      (trail, at): Link =>
        typeof trail === 'string'
          ? { origin: this.earlier[at]!, size: undefined, root: undefined, announcements: [] }
          : { ...trail.checkpoint, announcements: trail.announcements },
    )
    const known = (origin: string) => holdAgainst(this.brought, origin, []).kept
    const { findings, notes } = checkChain(links, known, this.knownRecovery())
    const inner = past.flatMap((trail) => {
      if (typeof trail === 'string') return []
      const concluded = concludeLive(trail, keptOf(trail))
      const id = trailOf(trail.checkpoint)
      return concluded.findings.map((one) => ({ ...one, verdict: `trail ${id} ${one.verdict}` }))
    })
    if (past.length === 0 && findings.length === 0 && notes.length === 0) return undefined
    const all = [...findings, ...inner]
    const state = stateOf(all)
    return { name: 'trails', state, sentence: trailsSentence[state], findings: all, notes }
  }

  private async deep(checkpoint: Checkpoint, expected: Expected): Promise<Extra> {
    return checkColumns({
      log: this.log,
      trail: trailOf(checkpoint)!,
      size: checkpoint.size,
      expected,
      progress: (done, of, filter) => this.bar.update(() => `filters: ${count(done)} of ${count(of)} ${filter}`),
    })
  }

  /** What the registry says as an anchor: somebody from outside vouches for it, and it binds what is shown. */
  private anchored(
    registry: Registry | RegistryFinding | undefined,
    { checkpoint }: Visited,
    extras: readonly Extra[],
  ): VerdictState | undefined {
    const isAsked = asksWitnesses(this.brought.policy)
    if (registry === undefined || !('heads' in registry)) return isAsked ? 'unchecked' : undefined
    const state = extras.find(({ name }) => name === 'registry')!.state
    if (state === 'failed') return isAsked || registry.keys !== undefined ? 'failed' : undefined
    const newest = registry.heads.find(({ isNewest }) => isNewest)
    const isBound = newest !== undefined && 'origin' in newest.body && newest.body.origin === checkpoint.origin
    if (registry.isAnchored && isBound && state === 'held') return 'held'
    return isAsked ? 'unchecked' : undefined
  }

  // ─── The state file ───────────────────────────────────────────────────────────────────────────────────────────────

  private async remember(
    registry: Registry | RegistryFinding | undefined,
    past: readonly (Visited | string)[],
    visited: Visited,
  ): Promise<string[]> {
    const { state } = this.brought
    if (state === undefined) return []
    const place = { url: this.log.remote.url, tenant: this.log.tenant }
    for (const trail of [...past, visited]) {
      if (typeof trail === 'string') continue
      const { origin } = trail.checkpoint
      const keys =
        trail.vkeys ?? keysFor([...readableVkeys(nodeSha256, [this.info.vkey]), ...namedBy(registry)], origin)
      await remember(state, { origin, note: trail.note, keys, ...(trail === visited && { place }) })
    }
    if (registry !== undefined && 'heads' in registry) {
      const keys = registry.keys ?? visited.vkeys ?? [...readableVkeys(nodeSha256, [this.info.vkey]), ...registry.named]
      const kept = await keptRegistry(registry, keys)
      if (kept !== undefined) state.keepRegistry({ ...kept, recovery: this.recovery(past, visited) })
    }
    await state.save()
    return [KEPT_NOTE]
  }

  /** Recovery keys of the first visit; none before. */
  private knownRecovery(): string[] {
    const known = this.brought.state?.registryOf(logNameOf(this.info.origin))?.recovery ?? []
    return known.map(({ name, publicKey }) => formatVkey(nodeSha256, name, publicKey))
  }

  /** Those of the first visit, whatever trails say since: the recovery key has no successor. */
  private recovery(past: readonly (Visited | string)[], visited: Visited): string[] {
    const known = this.knownRecovery()
    const oldest = [...past, visited].find((trail) => typeof trail !== 'string')!
    return known.length > 0 ? known : [...recoveryOf(oldest.announcements)]
  }
}

/** A payload that is gone, of which no entry under the checkpoint says why: one that was sealed since then may. */
const hasUnexplained = ({ findings }: LiveResult) =>
  findings.sorted().some(({ verdict, code }) => verdict === 'absence' && code === 'unexplained')

/** Waits for a checkpoint over more entries. @returns whether one came */
async function grows(log: ServerLog, size: number): Promise<boolean> {
  for (const deadline = Date.now() + CHECKPOINT_MS; Date.now() < deadline; ) {
    const note = await log.checkpoint()
    if (note === undefined) return false
    try {
      if (parseCheckpoint(parseNote(note).text).size > size) return true
    } catch (error) {
      if (error instanceof NoteError) return false
      throw error
    }
    await new Promise((resolve) => setTimeout(resolve, CHECKPOINT_PAUSE_MS))
  }
  return false
}

/** Keys that the server itself names for the registry. */
const namedBy = (registry: Registry | RegistryFinding | undefined) =>
  registry !== undefined && 'heads' in registry ? registry.named : []

const trailsSentence = {
  held: 'each trail of the tenant goes on exactly where the one before it ended',
  failed: 'the chain of trails has lost or exchanged entries',
  unchecked: 'not all of the chain of trails could be checked',
} as const

const keptOf = ({ held, vkeys }: Visited): Pick<LiveOptions, 'kept' | 'vkeys'> => ({
  kept: held.kept,
  ...(vkeys !== undefined && { vkeys }),
})

const isSame = (a: VerifierKey, b: VerifierKey) => Buffer.compare(a.publicKey, b.publicKey) === 0
const isAmong = (key: VerifierKey, keys: readonly VerifierKey[]) => keys.some((one) => isSame(one, key))
const distinct = (keys: readonly VerifierKey[]) => keys.filter((key, at) => !isAmong(key, keys.slice(0, at)))
