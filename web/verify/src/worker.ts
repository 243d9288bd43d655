/** Checks a pack away from the page's own thread. Reads the file in pieces; sends nothing anywhere. */
import {
  FormatError,
  type KeptCheckpoint,
  NoteError,
  PackError,
  PackReader,
  parseCertificates,
  parseCheckpoint,
  parseNote,
  parsePolicy,
  parseVkey,
  sha256,
  toHex,
  type VerifyOptions,
  verifyEd25519,
  verifyPack,
  webCertificateCrypto,
} from '@affidavit/trail'
import type { Message, Request, Subject } from './message.ts'

function say(message: Message): void {
  postMessage(message)
}

addEventListener('message', ({ data }: MessageEvent<Request>) => {
  check(data).catch((error: unknown) => say(refused(error)))
})

/** Something that the visitor brought cannot be read. */
class Unreadable extends Error {}

async function check(request: Request): Promise<void> {
  if (!(await knowsEd25519())) {
    const message = 'This browser cannot check Ed25519 signatures. Use a newer one, or the command line.'
    say({ kind: 'refused', about: 'browser', message })
    return
  }
  const brought = readBrought(request)
  const { file } = request
  const start = performance.now()
  const pack = await PackReader.open(sha256, {
    size: file.size,
    read: async (offset, length) => new Uint8Array(await file.slice(offset, offset + length).arrayBuffer()),
  })
  const of = pack.manifest.bundles.reduce((sum, { from, to }) => sum + (to - from) * 256, 0)
  let shown = 0
  const verification = await verifyPack(pack, {
    hash: sha256,
    verify: verifyEd25519,
    ...brought,
    progress: (done) => {
      if (performance.now() - shown < 100) return
      shown = performance.now()
      say({ kind: 'progress', done, of })
    },
  })
  say({ kind: 'verified', verification, subject: await subjectOf(pack), ms: performance.now() - start })
}

const SHOWN_KEYS = 4

async function subjectOf(pack: PackReader): Promise<Subject> {
  const { origin, size, ranges } = pack.manifest
  const covered = ranges.reduce((sum, { from, to }) => sum + to - from, 0)
  const vkeys = (await pack.text('vkeys')).split('\n', SHOWN_KEYS).filter((line) => line !== '')
  const about = { origin, size, covered, ranges: ranges.slice(0, 4), vkeys }
  try {
    return { ...about, root: toHex(parseCheckpoint(parseNote(await pack.text('checkpoint')).text).root) }
  } catch (error) {
    if (error instanceof NoteError) return about
    throw error
  }
}

function readBrought({ vkeys, checkpoint, policy, authorities }: Request): Partial<VerifyOptions> {
  const keys = vkeys.split(/\s+/).filter((word) => word !== '')
  return {
    ...(keys.length > 0 && { vkeys: keys.map((text) => named('The verifier key', () => parseVkey(sha256, text))) }),
    ...(checkpoint.trim() !== '' && { kept: [named('The kept checkpoint', () => keptFrom(checkpoint))] }),
    ...(policy.trim() !== '' && { policy: named('The witness policy', () => parsePolicy(sha256, policy)) }),
    ...(authorities.trim() !== '' && {
      timestamps: {
        crypto: webCertificateCrypto,
        trusted: named("The timestamp authority's certificate", () => parseCertificates(authorities)),
      },
    }),
  }
}

function keptFrom(note: string): KeptCheckpoint {
  return parseCheckpoint(parseNote(note).text)
}

function named<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof NoteError || error instanceof FormatError)
      throw new Unreadable(`${what} cannot be read: ${error.message}`)
    throw error
  }
}

function refused(error: unknown): Message {
  if (error instanceof Unreadable) return { kind: 'refused', about: 'brought', message: `${error.message}.` }
  if (error instanceof PackError) return { kind: 'refused', about: 'file', message: `${error.message} [${error.code}]` }
  // A file that was moved or changed while it was read, or one too large for this browser's memory.
  return { kind: 'refused', about: 'file', message: (error as Error).message }
}

/** RFC 8032 §7.1, test 1: a browser that cannot do this would call every log forged. */
async function knowsEd25519(): Promise<boolean> {
  const bytes = (hex: string) => Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16))
  const key = bytes('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a')
  const signature = bytes(
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  )
  return verifyEd25519(key, new Uint8Array(0), signature)
}
