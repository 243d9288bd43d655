/** Files that are named on the command line. They may be anything: a folder, a pipe that nobody writes to, ten gigabytes. */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { Failure, reasonOf } from '../failure.ts'

/** What is read whole: more than any document but a pack has. What is too large for its kind is refused by its parser. */
const MOST_BYTES = 64 * 2 ** 20

/** Opens a file to read at random. Never waits for the other end of a pipe: who reads finds out that it is no file. */
export const openFile = (path: string): Promise<FileHandle> => open(path, constants.O_RDONLY | constants.O_NONBLOCK)

/** The first bytes, by which kinds are told apart; empty where there is no such file: whoever opens it next says why. */
export async function beginningOf(path: string, length: number): Promise<Buffer> {
  const file = await openFile(path).catch(() => undefined)
  try {
    if (file === undefined || !(await file.stat()).isFile()) return Buffer.alloc(0)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0)
    return buffer.subarray(0, bytesRead)
  } catch {
    return Buffer.alloc(0)
  } finally {
    await file?.close()
  }
}

/** A whole document. A pipe is waited for: `<(command)` is one. Throws a Failure, whose cause is what the system says. */
export async function readDocument(path: string): Promise<Buffer> {
  try {
    return await readBounded(path)
  } catch (error) {
    throw new Failure(`${path} cannot be read: ${reasonOf(error)}.`, 2, { cause: error })
  }
}

async function readBounded(path: string): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const parts: Buffer[] = []
    let length = 0
    if ((await file.stat()).size > MOST_BYTES) throw tooLarge()
    for await (const part of file.createReadStream({ autoClose: false })) {
      parts.push(part as Buffer)
      length += (part as Buffer).length
      if (length > MOST_BYTES) throw tooLarge()
    }
    return Buffer.concat(parts)
  } finally {
    await file.close()
  }
}

const tooLarge = () => new Error(`it is larger than ${MOST_BYTES / 2 ** 20} MB`)
