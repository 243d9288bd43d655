// One pack verified in a thread of its own: a verification takes seconds of computing, and a hostile pack may ask for
// all the memory it can get. Neither may cost the thread that takes events anything.
import { parentPort, workerData } from 'node:worker_threads'
import { type PackError, PackReader, USUAL_LIMIT, type Verification, verifyEd25519, verifyPack } from '@affidavit/trail'
import { sha256 } from '../store/sha256.ts'

export type PackCheck =
  | { readonly ok: true; readonly report: Verification }
  | { readonly ok: false; readonly message: string }

async function check(body: Uint8Array): Promise<PackCheck> {
  const file = {
    size: body.length,
    read: async (offset: number, length: number) => body.subarray(offset, offset + length),
  }
  try {
    const reader = await PackReader.open(sha256, file)
    if (reader.manifest.limit > USUAL_LIMIT) return { ok: false, message: 'its members may be larger than usual' }
    return { ok: true, report: await verifyPack(reader, { hash: sha256, verify: verifyEd25519 }) }
  } catch (error) {
    if ((error as PackError).name !== 'PackError') throw error
    return { ok: false, message: (error as Error).message }
  }
}

parentPort!.postMessage(await check(workerData as Uint8Array))
