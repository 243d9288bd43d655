/** A pack on disk, read at random. */
import type { FileHandle } from 'node:fs/promises'
import { PackError, PackReader, type RandomAccess } from '@affidavit/trail'
import { Failure, reasonOf } from '../../failure.ts'
import { openFile } from '../given.ts'
import { nodeSha256 } from '../node-hash.ts'
import { nodeInflate } from './node-inflate.ts'

/**
 * Opens a pack, hands it over, and closes it. A file that is no pack, or a damaged one, proves nothing in either
 * direction: that is a Failure with exit code 2.
 */
export async function withPack<T>(path: string, use: (pack: PackReader) => Promise<T>): Promise<T> {
  const file = await opened(path)
  try {
    return await use(await PackReader.open(nodeSha256, await randomAccess(file, path), nodeInflate))
  } catch (error) {
    if (!(error instanceof PackError)) throw error
    throw new Failure(`${path} could not be checked: ${error.message} [${error.code}].${advice[error.code] ?? ''}`, 2, {
      cause: error,
    })
  } finally {
    await file.close()
  }
}

const advice: Readonly<Record<string, string>> = {
  not_a_pack:
    ' Name the file as it was sent, or as "affidavit pack" wrote it: one that was unpacked and packed again is another.',
  truncated: ' The end of the file may be missing: fetch it again.',
  damaged: ' A byte was changed on the way or since: fetch it again from where it came, and compare.',
  unknown_version: ' A newer version of affidavit may know it.',
}

async function opened(path: string): Promise<FileHandle> {
  try {
    return await openFile(path)
  } catch (error) {
    throw new Failure(`${path} cannot be read: ${reasonOf(error)}.`, 2, { cause: error })
  }
}

async function randomAccess(file: FileHandle, path: string): Promise<RandomAccess> {
  const stat = await file.stat()
  if (!stat.isFile()) throw new Failure(`${path} is no file. Name the evidence pack itself.`)
  return {
    size: stat.size,
    read: async (offset, length) => {
      const bytes = new Uint8Array(length)
      let filled = 0
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return bytes.subarray(0, filled)
    },
  }
}
