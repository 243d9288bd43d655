/**
 * What a verifier brings along: keys and checkpoints it has from elsewhere, and the state file in which it keeps, per
 * trail, the newest checkpoint it verified and the key that signed it. The first visit has to be trusted; every later
 * one is held against it.
 */
import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import {
  type Checkpoint,
  logOfRegistry,
  NoteError,
  parseCheckpoint,
  parseNote,
  parseVkey,
  type VerifierKey,
} from '@affidavit/trail'
import { Failure, reasonOf } from '../../failure.ts'
import { readDocument } from '../given.ts'
import { nodeSha256 } from '../node-hash.ts'

/** A checkpoint from before. */
export interface Kept extends Checkpoint {
  /** Where it comes from, for sentences: "the checkpoint in old.txt". */
  readonly label: string
  readonly note: string
}

/** Throws Failure for a text that is no vkey. */
export function readVkeys(texts: readonly string[]): VerifierKey[] {
  return texts.map((text) => {
    try {
      return parseVkey(nodeSha256, text.trim())
    } catch (error) {
      if (!(error instanceof NoteError)) throw error
      throw new Failure(`--vkey: ${error.message}. It looks like name+1a2b3c4d+AbC…=, all of it.`, 2, { cause: error })
    }
  })
}

/** Reads a checkpoint as the server gave it once, or all those in the state file of a colleague. Throws Failure. */
export async function readKept(path: string): Promise<Kept[]> {
  const text = (await readDocument(path)).toString('utf8')
  if (!text.startsWith('{')) return [keptNote(text, `the checkpoint in ${path}`)]
  const { trails, registries } = parseState(text, path)
  return [...trails, ...registries].map(({ checkpoint }) => keptNote(checkpoint, `the checkpoint in ${path}`))
}

function keptNote(note: string, label: string): Kept {
  try {
    return { ...parseCheckpoint(parseNote(note).text), note, label }
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    throw new Failure(`${label} is none: ${error.message}. Save what GET …/checkpoint answers, byte for byte.`, 2)
  }
}

const STATE_FORMAT = 'affidavit-state/1'

interface StateRecord {
  readonly origin: string
  /** The key that signed at the first visit. */
  readonly vkey: string
  /** The newest verified checkpoint, a signed note. */
  readonly checkpoint: string
  readonly verified_at: string
  /** Where the trail was met, so that another trail in its place is noticed. */
  readonly url?: string
  readonly tenant?: string
}

/** A registry: the log over all trails, one per deployment. */
interface RegistryRecord {
  readonly origin: string
  /** The log key in force, as the registry's successions left it. */
  readonly vkey: string
  /** Those before it, the newest first. */
  readonly succeeded: readonly string[]
  /** Recovery keys that may name its successor. */
  readonly recovery: readonly string[]
  /** The newest verified checkpoint, a signed note. */
  readonly checkpoint: string
  readonly verified_at: string
}

interface StateFile {
  readonly trails: StateRecord[]
  readonly registries: RegistryRecord[]
}

/** What a registry showed when it was verified. */
export interface KeptRegistry {
  readonly kept: Kept
  readonly key: VerifierKey
  readonly succeeded: readonly VerifierKey[]
  readonly recovery: readonly VerifierKey[]
}

export interface Place {
  readonly url: string
  readonly tenant: string
}

/** What earlier visits left. */
export class State {
  private readonly path: string
  private readonly file: StateFile

  private constructor(path: string, file: StateFile) {
    this.path = path
    this.file = file
  }

  /** An absent file is an empty state. Throws Failure for one that cannot be read. */
  static async load(path: string): Promise<State> {
    try {
      return new State(path, parseState((await readDocument(path)).toString('utf8'), path))
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
      if (code === 'ENOENT') return new State(path, { trails: [], registries: [] })
      throw error
    }
  }

  /** What is known of a trail: its key and the checkpoint to hold it against. */
  of(origin: string): { readonly keys: VerifierKey[]; readonly kept: Kept } | undefined {
    const record = this.file.trails.find((candidate) => candidate.origin === origin)
    if (record === undefined) return undefined
    return { keys: readVkeys([record.vkey]), kept: this.kept(record) }
  }

  /** The newest registry of a log that was verified; `<log name>/registry` or one that took its place. */
  registryOf(logName: string): KeptRegistry | undefined {
    const record = this.file.registries.findLast(({ origin }) => logOfRegistry(origin) === logName)
    if (record === undefined) return undefined
    const [key, ...succeeded] = readVkeys([record.vkey, ...record.succeeded])
    return { kept: this.kept(record), key: key!, succeeded, recovery: readVkeys(record.recovery) }
  }

  /** Every log key that is known. */
  keys(): VerifierKey[] {
    return readVkeys([...this.file.trails, ...this.file.registries].map(({ vkey }) => vkey))
  }

  /** Another trail that is known in the place of this one: the slot belongs to one tenant, so it is that tenant's. */
  besides(origin: string): string | undefined {
    const place = (one: string) => /^(.*\/[0-9a-f]{8})[0-9a-f]{24}$/.exec(one)?.[1]
    const own = place(origin)
    if (own === undefined || this.of(origin) !== undefined) return undefined
    return this.file.trails.findLast((record) => place(record.origin) === own)?.origin
  }

  private kept({ checkpoint, verified_at }: Pick<StateRecord, 'checkpoint' | 'verified_at'>): Kept {
    return keptNote(checkpoint, `the checkpoint kept in ${this.path} on ${verified_at.slice(0, 10)}`)
  }

  /** The origin that a server gave for a tenant when it was last visited. */
  originAt({ url, tenant }: Place): string | undefined {
    return this.file.trails.findLast((record) => record.url === url && record.tenant === tenant)?.origin
  }

  /** Notes what was just verified; `save` makes it last. */
  keep(origin: string, vkey: string, checkpoint: string, place?: Place): void {
    const { trails } = this.file
    const before = trails.findIndex((record) => record.origin === origin)
    const known = before < 0 ? undefined : trails.splice(before, 1)[0]
    trails.push({ ...known, origin, vkey, checkpoint, verified_at: new Date().toISOString(), ...place })
  }

  /** The same for a registry. */
  keepRegistry(record: Omit<RegistryRecord, 'verified_at'>): void {
    const { registries } = this.file
    const before = registries.findIndex(({ origin }) => origin === record.origin)
    if (before >= 0) registries.splice(before, 1)
    registries.push({ ...record, verified_at: new Date().toISOString() })
  }

  /** Writes the file whole or not at all. Throws Failure. */
  async save(): Promise<void> {
    const temporary = `${this.path}.${randomBytes(6).toString('hex')}`
    try {
      const file = await open(temporary, 'wx', 0o600)
      try {
        await file.writeFile(`${JSON.stringify({ format: STATE_FORMAT, ...this.file }, null, 2)}\n`)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, this.path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw new Failure(`${this.path} cannot be written: ${reasonOf(error)}.`, 2, { cause: error })
    }
  }
}

function parseState(text: string, path: string): StateFile {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined
  }
  const { format, trails, registries = [] } = (value ?? {}) as Readonly<Record<string, unknown>>
  const isState =
    format === STATE_FORMAT &&
    Array.isArray(trails) &&
    trails.every(isRecord) &&
    Array.isArray(registries) &&
    registries.every(isRegistry)
  if (!isState)
    throw new Failure(`${path} is no state file of affidavit verify. Name another; do not delete it unread.`)
  return { trails, registries: registries as RegistryRecord[] }
}

function isRecord(value: unknown): value is StateRecord {
  const { origin, vkey, checkpoint, verified_at } = (value ?? {}) as Record<string, unknown>
  return isTexts([origin, vkey, checkpoint, verified_at])
}

function isRegistry(value: unknown): boolean {
  const { succeeded, recovery } = (value ?? {}) as Record<string, unknown>
  return isRecord(value) && isTexts(succeeded) && isTexts(recovery)
}

const isTexts = (value: unknown) => Array.isArray(value) && value.every((member) => typeof member === 'string')
