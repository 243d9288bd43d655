/** The input as plain bytes, whether it was gzipped or not, counted as it is read so that progress can be shown. */

import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'

/** A source of bytes: a file stream, stdin, or anything that yields chunks. */
export type ByteSource = AsyncIterable<Uint8Array>

/**
 * Unzips when the input begins with gzip's magic number; several gzip members one after the other are one stream.
 * Throws zlib's error when the stream is damaged or ends early; everything before the damage was yielded.
 */
export async function* plainBytes(
  input: ByteSource,
  onRead: (bytes: number) => void = () => {},
): AsyncGenerator<Buffer> {
  const chunks = counted(input, onRead)
  const { head, rest } = await firstBytes(chunks, 2)
  if (head[0] !== 0x1f || head[1] !== 0x8b) {
    if (head.length > 0) yield head
    yield* rest
    return
  }
  const output = new PassThrough()
  const done = pipeline(Readable.from(prepend(head, rest)), createGunzip({ chunkSize: 256 * 1024 }), output)
  // The error reaches the loop below through the destroyed output as well; without this it would count as unhandled.
  done.catch(() => {})
  for await (const chunk of output) yield chunk as Buffer
  await done
}

async function* counted(input: ByteSource, onRead: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const chunk of input) {
    onRead(chunk.byteLength)
    yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  }
}

/** At least `count` bytes if the input has that many, and the chunks after them. */
export async function firstBytes(
  chunks: AsyncGenerator<Buffer>,
  count: number,
): Promise<{ head: Buffer; rest: AsyncGenerator<Buffer> }> {
  let head: Buffer = Buffer.alloc(0)
  while (head.length < count) {
    const next = await chunks.next()
    if (next.done) break
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value])
  }
  return { head, rest: chunks }
}

export async function* prepend(head: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head
  yield* rest
}
