/**
 * What a verifier brings along: keys and checkpoints it has from elsewhere, and the state file in which it keeps, per
 * trail, the newest checkpoint it verified and the key that signed it. The first visit has to be trusted; every later
 * one is held against it.
 */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { type Checkpoint, NoteError, parseCheckpoint, parseNote, parseVkey, type VerifierKey } from '@affidavit/trail'
import { Failure, reasonOf } from '../failure.ts'
import { nodeSha256 } from './node-hash.ts'

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

/** Reads a checkpoint as the server gave it once. Throws Failure. */
export async function readCheckpoint(path: string): Promise<Kept> {
  return keptNote(await readText(path), `the checkpoint in ${path}`)
}

function keptNote(note: string, label: string): Kept {
  try {
    return { ...parseCheckpoint(parseNote(note).text), note, label }
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    throw new Failure(`${label} is none: ${error.message}. Save what GET …/checkpoint answers, byte for byte.`, 2)
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new Failure(`${path} cannot be read: ${reasonOf(error)}.`, 2, { cause: error })
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

export interface Place {
  readonly url: string
  readonly tenant: string
}

/** What earlier visits left. */
export class State {
  private readonly path: string
  private readonly records: StateRecord[]

  private constructor(path: string, records: StateRecord[]) {
    this.path = path
    this.records = records
  }

  /** An absent file is an empty state. Throws Failure for one that cannot be read. */
  static async load(path: string): Promise<State> {
    let text: string
    try {
      text = await readFile(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new State(path, [])
      throw new Failure(`${path} cannot be read: ${reasonOf(error)}.`, 2, { cause: error })
    }
    return new State(path, parseState(text, path))
  }

  /** What is known of a trail: its key and the checkpoint to hold it against. */
  of(origin: string): { readonly keys: VerifierKey[]; readonly kept: Kept } | undefined {
    const record = this.records.find((candidate) => candidate.origin === origin)
    if (record === undefined) return undefined
    const kept = keptNote(
      record.checkpoint,
      `the checkpoint kept in ${this.path} on ${record.verified_at.slice(0, 10)}`,
    )
    return { keys: readVkeys([record.vkey]), kept }
  }

  /** The origin that a server gave for a tenant when it was last visited. */
  originAt({ url, tenant }: Place): string | undefined {
    return this.records.findLast((record) => record.url === url && record.tenant === tenant)?.origin
  }

  /** Keeps what was just verified, and writes the file whole or not at all. Throws Failure. */
  async keep(origin: string, vkey: string, checkpoint: string, place?: Place): Promise<void> {
    const before = this.records.findIndex((record) => record.origin === origin)
    const known = before < 0 ? undefined : this.records.splice(before, 1)[0]
    this.records.push({
      ...known,
      origin,
      vkey: known?.vkey ?? vkey,
      checkpoint,
      verified_at: new Date().toISOString(),
      ...place,
    })
    const temporary = `${this.path}.${randomBytes(6).toString('hex')}`
    try {
      const file = await open(temporary, 'wx', 0o600)
      try {
        await file.writeFile(`${JSON.stringify({ format: STATE_FORMAT, trails: this.records }, null, 2)}\n`)
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

function parseState(text: string, path: string): StateRecord[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined
  }
  const { format, trails } = (value ?? {}) as { format?: unknown; trails?: unknown }
  if (format !== STATE_FORMAT || !Array.isArray(trails) || !trails.every(isRecord)) {
    throw new Failure(`${path} is no state file of affidavit verify. Name another; do not delete it unread.`)
  }
  return trails
}

function isRecord(value: unknown): value is StateRecord {
  const { origin, vkey, checkpoint, verified_at } = (value ?? {}) as Record<string, unknown>
  return [origin, vkey, checkpoint, verified_at].every((member) => typeof member === 'string')
}
