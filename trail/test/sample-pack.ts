/** Packs of the sample trail, and what the verifier says of them. */
import {
  type Manifest,
  PackReader,
  type PackSource,
  type Payload,
  type Verification,
  type VerifyOptions,
  verifyEd25519,
  verifyPack,
  writePack,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import { ascii, collect, fileOf, manifestOf, type SampleTrail, sourceOf } from './sample-trail.ts'

export async function packOf(
  trail: SampleTrail,
  changes: Partial<Manifest> = {},
  source: Partial<PackSource> = {},
): Promise<Uint8Array> {
  const manifest = manifestOf(trail, changes)
  return collect(writePack(nodeSha256, manifest, await sourceOf(trail, manifest, source)))
}

/** `packOf` with optional members, in their order. */
export function packWith(
  trail: SampleTrail,
  members: ReadonlyMap<string, string | Uint8Array>,
  changes: Partial<Manifest> = {},
  source: Partial<PackSource> = {},
): Promise<Uint8Array> {
  const optional = async (path: string) => {
    const member = members.get(path)!
    return typeof member === 'string' ? ascii.encode(member) : member
  }
  return packOf(trail, { optional: [...members.keys()], ...changes }, { optional, ...source })
}

export async function verified(bytes: Uint8Array, options: Partial<VerifyOptions> = {}): Promise<Verification> {
  const reader = await PackReader.open(nodeSha256, fileOf(bytes))
  return verifyPack(reader, { hash: nodeSha256, verify: verifyEd25519, ...options })
}

/** The findings as `verdict code`. */
export const codesOf = ({ findings }: Verification): string[] =>
  findings.map(({ verdict, code }) => `${verdict} ${code}`)

/** The first finding as `verdict code seq`. */
export function firstOf({ findings }: Verification): string {
  const [finding] = findings
  return finding === undefined ? 'none' : `${finding.verdict} ${finding.code} ${finding.seq}`
}

/** A payload of which some parts are missing. */
export function without(payload: Payload, ...parts: Exclude<keyof Payload, 'seq'>[]): Payload {
  const left: { -readonly [Part in keyof Payload]: Payload[Part] } = { ...payload }
  for (const part of parts) delete left[part]
  return left
}
