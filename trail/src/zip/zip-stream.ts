/** Takes a pack apart while it arrives, and picks up a directory that was written piece by piece: for downloads that go on. */
import { concatBytes, equalBytes } from '../bytes.ts'
import type { Hash } from '../hash.ts'
import { PackError } from '../pack-error.ts'
import { CENTRAL, isMemberPath, LOCAL_BYTES, localHeader, type ZipEntry } from './zip.ts'

/** A member as it arrives; nothing about its content was checked but that it is framed as the format wants. */
export interface ArrivedMember {
  readonly entry: ZipEntry
  /** Local header and stored bytes, as they stand in the file. */
  readonly bytes: Uint8Array
}

const fromAscii = new TextDecoder('latin1')

/**
 * The members of a pack, or of the rest of one, in their order. Ends where the directory begins or the stream ends
 * between two members. Throws PackError `truncated` inside a member, `too_large` for one above `limit` packed bytes.
 */
export async function* arrivingMembers(
  hash: Hash,
  chunks: AsyncIterable<Uint8Array>,
  limit: number,
): AsyncGenerator<ArrivedMember> {
  const input = new Input(chunks)
  try {
    yield* membersOf(hash, input, limit)
  } finally {
    // What follows is of no interest; whoever sends it must not wait for somebody who takes it.
    await input.close()
  }
}

async function* membersOf(hash: Hash, input: Input, limit: number): AsyncGenerator<ArrivedMember> {
  for (;;) {
    const start = await input.take(LOCAL_BYTES)
    if (start.length === 0) return
    const view = new DataView(start.buffer, start.byteOffset, start.byteLength)
    if (start.length >= 4 && view.getUint32(0, true) === CENTRAL) return
    if (start.length < LOCAL_BYTES) throw new PackError('truncated', 'the pack broke off')
    const name = await input.take(view.getUint16(26, true))
    const entry = {
      path: fromAscii.decode(name),
      stored: view.getUint16(8, true) === 0,
      crc: view.getUint32(14, true),
      packedSize: view.getUint32(18, true),
      size: view.getUint32(22, true),
      offset: 0,
    }
    if (!isMemberPath(entry.path)) throw new PackError('members', 'what arrives is no member of a pack')
    if (entry.packedSize > limit) throw new PackError('too_large', `${entry.path} has ${entry.packedSize} bytes`)
    const packed = await input.take(entry.packedSize)
    if (packed.length < entry.packedSize) throw new PackError('truncated', 'the pack broke off')
    const header = localHeader({ ...entry, digest: new Uint8Array(0) })
    if (!equalBytes(header, concatBytes([start, name])))
      throw new PackError('damaged', `the header of ${entry.path} is not in its only form`)
    yield { entry: { ...entry, digest: hash(packed).slice() }, bytes: concatBytes([header, packed]) }
  }
}

/** A stream of chunks, asked for so many bytes at a time. */
class Input {
  private readonly chunks: AsyncIterator<Uint8Array>
  private held: Uint8Array[] = []
  private length = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.chunks = chunks[Symbol.asyncIterator]()
  }

  async close(): Promise<void> {
    await this.chunks.return?.()
  }

  /** The next `count` bytes; fewer only at the end. */
  async take(count: number): Promise<Uint8Array> {
    while (this.length < count) {
      const next = await this.chunks.next()
      if (next.done) break
      this.held.push(next.value)
      this.length += next.value.length
    }
    const bytes = new Uint8Array(Math.min(count, this.length))
    let filled = 0
    while (filled < bytes.length) {
      const first = this.held[0]!
      const part = first.subarray(0, bytes.length - filled)
      bytes.set(part, filled)
      filled += part.length
      if (part.length === first.length) this.held.shift()
      else this.held[0] = first.subarray(part.length)
    }
    this.length -= bytes.length
    return bytes
  }
}
