// The frames of an epoch object: type (1 byte), length (uint32, big-endian), content, after one line that names the
// format. Read from a stream piece by piece, for an object of a busy minute is large.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

const utf8 = (text: string) => Buffer.from(text, 'utf8')

export const OBJECT_LINE = 'affidavit/1 epoch-object\n'
const LINE = utf8(OBJECT_LINE)
const FRAME_HEAD = 5
/** Type of the frame that authenticates. */
export const SEAL = 'M'
/** A reader holds one frame at a time; writers stay far below. */
const FRAME_MAX = 64 * 1024 * 1024

/** The object is not what an epoch object is: cut short, or not written by this program. */
export class BrokenEpochObject extends Error {
  override name = 'BrokenEpochObject'
}

export interface Frame {
  /** One ASCII letter. */
  readonly type: string
  readonly content: Buffer
}

export function frame(type: string, content: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD + content.length)
  bytes.write(type, 0, 'latin1')
  bytes.writeUInt32BE(content.length, 1)
  bytes.set(content, FRAME_HEAD)
  return bytes
}

export const jsonFrame = (type: string, value: object): Buffer => frame(type, utf8(JSON.stringify(value)))

/** Authenticates the bytes before it: HMAC-SHA256(registry secret, SHA-256(bytes)). */
export class FrameSeal {
  readonly #hash = createHash('sha256')

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes)
  }

  mac(secret: Uint8Array): Buffer {
    return createHmac('sha256', secret).update(this.#hash.copy().digest()).digest()
  }
}

/** Frames in order, with the means to authenticate what came before one. */
export class FrameReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  readonly #seal = new FrameSeal()
  #held: Buffer = Buffer.alloc(0)
  #begun = false

  /** @param chunks the object's bytes, inflated */
  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** Undefined at the end. @throws BrokenEpochObject */
  async next(): Promise<Frame | undefined> {
    if (!this.#begun) {
      const line = await this.#take(LINE.length)
      if (line === undefined || !line.equals(LINE)) throw new BrokenEpochObject('not an epoch object of version 1')
      this.#begun = true
      this.#seal.add(line)
    }
    const head = await this.#take(FRAME_HEAD)
    if (head === undefined) return undefined
    const length = head.readUInt32BE(1)
    if (length > FRAME_MAX) throw new BrokenEpochObject(`a frame of ${length} bytes`)
    const content = length === 0 ? Buffer.alloc(0) : await this.#take(length)
    if (content === undefined) throw new BrokenEpochObject('the object ends within a frame')
    const type = head.toString('latin1', 0, 1)
    if (type !== SEAL) {
      this.#seal.add(head)
      this.#seal.add(content)
    }
    return { type, content }
  }

  /** Whether `content`, of the frame M that was read last, authenticates everything before it. */
  isAuthentic(content: Buffer, secret: Uint8Array): boolean {
    const expected = this.#seal.mac(secret)
    return content.length === expected.length && timingSafeEqual(content, expected)
  }

  /** Ends early: the source is closed. */
  async close(): Promise<void> {
    await this.#chunks.return?.()
  }

  async #take(length: number): Promise<Buffer | undefined> {
    while (this.#held.length < length) {
      const { value, done } = await this.#chunks.next()
      if (done === true) {
        if (this.#held.length === 0) return undefined
        throw new BrokenEpochObject('the object ends within a frame')
      }
      this.#held = this.#held.length === 0 ? Buffer.from(value) : Buffer.concat([this.#held, value])
    }
    const taken = this.#held.subarray(0, length)
    this.#held = this.#held.subarray(length)
    return taken
  }
}
