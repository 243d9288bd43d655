/** Downloads a pack member by member; where the connection breaks, it goes on behind the last member that is there. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ArrivedMember,
  arrivingMembers,
  decodeManifest,
  type Manifest,
  memberPaths,
  PackError,
  USUAL_LIMIT,
} from '@affidavit/trail'
import { Failure, reasonOf } from '../failure.ts'
import { type Remote, ServerRefused, Unreachable } from '../remote.ts'
import { nodeSha256 } from '../verify/node-hash.ts'
import type { Beginning, PartialPack } from './partial.ts'

/** Attempts in a row that may bring nothing new. */
const ATTEMPTS = 5
/** What is said of one epoch, or of one timestamp: some kilobytes, of which one half is worth nothing. */
const OF_ONE_MOMENT = /^(registry|anchors)\//
/** No server makes us hold more. */
const MOST_HELD_BYTES = 16 * 2 ** 20

export interface Wanted {
  readonly remote: Remote
  /** `/v1/trails/<tenant>/pack`. */
  readonly path: string
  /** Query string of the selection. */
  readonly query: string
  /** Wait before the second attempt; doubled each time. */
  readonly retryMs?: number
}

/** Fetches what is missing. Throws Failure or ServerRefused; what arrived stays. @param progress told after each member */
export async function download(wanted: Wanted, partial: PartialPack, progress: () => void): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const before = partial.members
    try {
      const arriving = arrivingMembers(nodeSha256, await answer(wanted, partial), USUAL_LIMIT)
      for await (const members of together(arriving)) {
        await partial.add(...members)
        progress()
      }
      if (await isComplete(partial)) return
      throw new PackError('truncated', 'the answer ended early')
    } catch (error) {
      if (partial.members > 0) await partial.sync()
      if (!isBreak(error)) throw error
      if (partial.members > before) attempt = 1
      if (partial.members === 0 && error instanceof Unreachable) throw error
      if (attempt >= ATTEMPTS || partial.members < 3) throw brokenOff(error, partial)
      await sleep((wanted.retryMs ?? 500) * 2 ** (attempt - 1))
    }
  }
}

/**
 * Members as they come, those that belong together all at once or not at all: where the line breaks between them, the
 * server makes the rest by a later epoch, and the two halves would contradict each other.
 */
async function* together(arriving: AsyncIterable<ArrivedMember>): AsyncGenerator<ArrivedMember[]> {
  let held: ArrivedMember[] = []
  let bytes = 0
  for await (const member of arriving) {
    held.push(member)
    bytes += member.bytes.length
    if (OF_ONE_MOMENT.test(member.entry.path) && bytes < MOST_HELD_BYTES) continue
    yield held
    held = []
    bytes = 0
  }
  if (held.length > 0) yield held
}

async function answer({ remote, path, query }: Wanted, partial: PartialPack): ReturnType<Remote['stream']> {
  const begun: Beginning | undefined = await partial.beginning()
  if (begun === undefined) return opened(remote, `${path}?${query}`)
  return remote.stream(path, { method: 'POST', body: { ...begun, skip: partial.members } })
}

/** A trail that was begun a moment ago has its first checkpoint within seconds: waiting is kinder than refusing. */
async function opened(remote: Remote, address: string): ReturnType<Remote['stream']> {
  for (const deadline = Date.now() + 10_000; ; await sleep(500)) {
    try {
      return await remote.stream(address)
    } catch (error) {
      const isEarly = error instanceof ServerRefused && error.code === 'not_notarized'
      if (!isEarly || Date.now() > deadline) throw error
    }
  }
}

async function isComplete(partial: PartialPack): Promise<boolean> {
  const begun = await partial.beginning()
  return begun !== undefined && partial.members === memberCount(decodeManifest(begun.manifest))
}

function memberCount(manifest: Manifest): number {
  let count = 0
  for (const _ of memberPaths(manifest)) count++
  return count
}

/** Whether trying again may help: the connection broke. What the server refuses, or what is no pack, it will again. */
function isBreak(error: unknown): boolean {
  if (error instanceof PackError) return error.code === 'truncated'
  if (error instanceof Unreachable) return true
  if (error instanceof Failure || error instanceof ServerRefused) return false
  return (
    (error as NodeJS.ErrnoException).syscall === undefined ||
    /read|connect/.test((error as NodeJS.ErrnoException).syscall!)
  )
}

function brokenOff(error: unknown, partial: PartialPack): Failure {
  const kept = partial.members < 3 ? 'Nothing was kept.' : 'Run the same command again: it goes on where it stopped.'
  const { cause = error } = error as Error
  return new Failure(`The pack broke off on the way: ${reasonOf(cause)}. ${kept}`, 2, { cause: error })
}
