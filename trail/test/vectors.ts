/** The golden vectors and the specification's worked example, computed from seeds. `write-vectors.ts` stores them. */
import {
  type Control,
  commitText,
  emptyRoot,
  encodeContent,
  encodeEntry,
  encodeManifest,
  formatCheckpoint,
  formatReceipt,
  hmacKey,
  personalSalt,
  proveConsistency,
  proveInclusion,
  signNote,
  toBase64,
  toHex,
  writePack,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import {
  collect,
  LOG,
  makeTrail,
  manifestOf,
  OPEN,
  ORIGIN,
  readNode,
  rootOf,
  type SampleTrail,
  SLOT,
  SUBJECTS,
  sampleTime,
  seeded,
  signedCheckpoint,
  sourceOf,
  TRAIL,
  trailId,
} from './sample-trail.ts'

const HOLD = toHex(seeded('hold', 16))
const ROOT = toBase64(seeded('root', 32))
const OLD = trailId('older trail', SLOT)

/** One of every kind and sub-kind; `open` and `continues` first, `close` last, as a trail has them. */
const CONTROLS: readonly Control[] = [
  { ...OPEN, recovery: [LOG.vkey] } as Control,
  { kind: 'continues', trail: OLD, size: 4711, root: ROOT },
  { kind: 'policy', about: 'retention', category: 'all', retention: 365, from: 'new' },
  { kind: 'policy', about: 'retention', category: 'billing', retention: 'forever', from: sampleTime(60_000) },
  { kind: 'policy', about: 'capture', version: 2 },
  { kind: 'keys', about: 'log', vkeys: [LOG.vkey] },
  { kind: 'keys', about: 'recovery', vkeys: [LOG.vkey] },
  { kind: 'keys', about: 'data', step: 'made', generation: 2 },
  { kind: 'keys', about: 'subject', step: 'destroyed', generation: 1 },
  {
    kind: 'state',
    part: 1,
    parts: 2,
    restated: [OPEN, { kind: 'redact', seqs: [300] }, { kind: 'hold', hold: HOLD, scope: 'trail' }],
  },
  { kind: 'prune', category: 'data_access', before: 9_007_199_254_740_991 },
  { kind: 'truncate', size: 256 },
  { kind: 'erase', subjects: [...SUBJECTS].sort() },
  { kind: 'redact', seqs: [3, 5, 4_294_967_296] },
  { kind: 'hold', hold: HOLD, scope: 'trail' },
  { kind: 'hold', hold: HOLD, scope: 'entries', from: 0, to: 12 },
  { kind: 'hold', hold: HOLD, scope: 'subjects', subjects: [SUBJECTS[0]!] },
  { kind: 'release', hold: HOLD },
  { kind: 'sampled', from: sampleTime(0), to: sampleTime(1), tier: 2, count: 1041 },
  { kind: 'lost', from: 10, to: 12 },
  { kind: 'close', reason: 'continued' },
]

export const EXAMPLE: SampleTrail = makeTrail([{ control: OPEN }, {}, {}, { control: { kind: 'redact', seqs: [2] } }])

/** Every golden vector but the pack, by file name. */
export async function makeVectors(): Promise<Record<string, unknown>> {
  const kinds = makeTrail([
    ...CONTROLS.slice(0, -1).map((control) => ({ control })),
    {},
    {},
    {},
    {},
    {},
    {},
    { control: CONTROLS.at(-1)! },
  ])
  return {
    'entries.json': kinds.entries.map((entry, seq) => ({
      entry,
      text: encodeEntry(entry),
      leaf: toBase64(kinds.leaves[seq]!),
    })),
    'commitments.json': kinds.payloads.slice(-8).map((payload) => ({
      payload: encodeContent(payload),
      entry: encodeEntry(kinds.entries[payload.seq]!),
    })),
    'salts.json': [0, 1, 99].map((line) => ({
      saltKey: toHex(seeded('salt key ada', 32)),
      factsSalt: toBase64(seeded('salt facts 1', 16)),
      line,
      salt: toBase64(
        personalSalt(nodeSha256, hmacKey(nodeSha256, seeded('salt key ada', 32)), seeded('salt facts 1', 16), line),
      ),
    })),
    'tree.json': await treeVectors(),
    'notes.json': await noteVectors(),
  }
}

async function treeVectors(): Promise<unknown> {
  const trail = makeTrail(Array.from({ length: 9 }, (_, seq) => (seq === 0 ? { control: OPEN } : {})))
  const read = readNode(trail)
  const proofs = (hashes: Promise<Uint8Array[]>) => hashes.then((list) => list.map(toBase64))
  const inclusion: unknown[] = []
  const consistency: unknown[] = []
  for (let size = 1; size <= 9; size++) {
    const index = Math.floor(size / 2)
    inclusion.push({ index, size, proof: await proofs(proveInclusion(nodeSha256, read, index, size)) })
    consistency.push({
      older: index + 1,
      newer: 9,
      proof: await proofs(proveConsistency(nodeSha256, read, index + 1, 9)),
    })
  }
  return {
    leaves: trail.leaves.map(toBase64),
    emptyRoot: toBase64(emptyRoot(nodeSha256)),
    roots: trail.leaves.map((_, at) => toBase64(rootOf(trail, at + 1))),
    inclusion,
    consistency,
  }
}

async function noteVectors(): Promise<Record<string, string>> {
  return {
    seed: toHex(seeded(`log key ${ORIGIN}`, 32)),
    vkey: LOG.vkey,
    checkpoint: await signedCheckpoint(EXAMPLE),
    receipt: await exampleReceipt(),
  }
}

export function exampleReceipt(): Promise<string> {
  const { leaves, entries } = EXAMPLE
  const receipt = { trail: TRAIL, first: 1, last: 2, leaf: leaves[2]!, sealedAt: entries[2]!.sealedAt }
  return signNote(formatReceipt(receipt), [LOG.signer])
}

/** A pack of the example: what its members hold is fixed, how they are deflated is not. */
export async function makePack(): Promise<{ pack: string; manifest: string }> {
  const manifest = manifestOf(EXAMPLE)
  const bytes = await collect(writePack(nodeSha256, manifest, await sourceOf(EXAMPLE, manifest)))
  return { pack: toBase64(bytes), manifest: encodeManifest(manifest) }
}

const fence = (label: string, text: string) => `\`\`\`${label}\n${text}${text.endsWith('\n') ? '' : '\n'}\`\`\`\n`

/** The worked example of each page, put behind its marker. */
export async function makeExamples(): Promise<Record<string, string>> {
  const { entries, leaves, payloads } = EXAMPLE
  const facts = payloads[1]!.facts!
  const personal = payloads[1]!.personal![0]!
  const key = hmacKey(nodeSha256, seeded('salt key bob', 32))
  return {
    entry: [
      '## Example: entries 0 and 1 of a trail\n',
      fence('entry', encodeEntry(entries[0]!)),
      fence('entry', encodeEntry(entries[1]!)),
      'Their leaf hashes (the first is named in the second):\n',
      fence('leaves', leaves.slice(0, 2).map(toBase64).join('\n')),
    ].join('\n'),
    commitment: [
      '## Example: the commitments of entry 1\n',
      'Salt and content of the facts, and their commitment:\n',
      fence(
        'facts',
        `${facts.salt}\n${facts.content}\n${commitText(nodeSha256, 'facts', seeded('salt facts 1', 16), facts.content)}`,
      ),
      "The subject's salt key (hex), then salt, content and commitment of personal line 0:\n",
      fence(
        'personal',
        [
          toHex(seeded('salt key bob', 32)),
          toBase64(personalSalt(nodeSha256, key, seeded('salt facts 1', 16), 0)),
          personal.content,
          entries[1]!.personal[0]!.commitment,
        ].join('\n'),
      ),
    ].join('\n'),
    tree: [
      '## Example: four leaves\n',
      'The leaf hashes of the example trail, then the roots of its first 1, 2, 3 and 4 entries:\n',
      fence('leaves', leaves.map(toBase64).join('\n')),
      fence('roots', leaves.map((_, at) => toBase64(rootOf(EXAMPLE, at + 1))).join('\n')),
    ].join('\n'),
    checkpoint: [
      '## Example\n',
      'Ed25519 seed (hex) and verifier key of the example trail:\n',
      fence('key', `${toHex(seeded(`log key ${ORIGIN}`, 32))}\n${LOG.vkey}`),
      'Its checkpoint at size 4, and a receipt for entries 1 and 2:\n',
      fence('checkpoint', await signedCheckpoint(EXAMPLE)),
      fence('receipt', await exampleReceipt()),
      `The signed text of the checkpoint is its first three lines (${formatCheckpoint(ORIGIN, 4, rootOf(EXAMPLE)).length} bytes).\n`,
    ].join('\n'),
  }
}
