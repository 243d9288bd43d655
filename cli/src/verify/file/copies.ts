/** What an operator still has of a log that was lost: packs, kept checkpoints, anchored checkpoints of the registry. */
import { parseCheckpoint, parseNote, parseTlogProof } from '@affidavit/trail'
import { Failure } from '../../failure.ts'
import { beginningOf, readDocument } from '../given.ts'
import { withPack } from './pack-file.ts'

/** Signed notes by what they are of. */
export interface Copies {
  readonly trails: { readonly tenant: string; readonly note: string }[]
  readonly registry: string[]
}

/** @param given `<tenant>=<pack or checkpoint of its trail>`, or `<checkpoint of the registry>`. Throws Failure. */
export async function readCopies(given: readonly string[]): Promise<Copies> {
  const copies: Copies = { trails: [], registry: [] }
  for (const one of given) {
    const [, tenant, path] = /^([A-Za-z0-9._-]{1,64})=(.+)$/s.exec(one) ?? [undefined, undefined, one]
    const isPack = (await beginningOf(path!, 2)).toString('latin1') === 'PK'
    if (isPack) await ofPack(path!, tenant, copies)
    else ofNote(path!, tenant, (await readDocument(path!)).toString('utf8'), copies)
  }
  return copies
}

async function ofPack(path: string, tenant: string | undefined, copies: Copies): Promise<void> {
  await withPack(path, async (pack) => {
    copies.trails.push({ tenant: named(path, tenant), note: await pack.text('checkpoint') })
    const proof = 'registry/epoch.tlog-proof'
    if (pack.has(proof)) copies.registry.push(parseTlogProof(await pack.text(proof)).checkpoint)
  })
}

function ofNote(path: string, tenant: string | undefined, note: string, copies: Copies): void {
  let origin: string
  try {
    origin = parseCheckpoint(parseNote(note).text).origin
  } catch {
    throw new Failure(`${path} is neither a pack nor a signed checkpoint.`)
  }
  if (/\/registry(\.\d+)?$/.test(origin)) copies.registry.push(note)
  else copies.trails.push({ tenant: named(path, tenant), note })
}

function named(path: string, tenant: string | undefined): string {
  if (tenant !== undefined) return tenant
  throw new Failure(`Say whose trail ${path} is: <tenant>=${path}`)
}
