/** Golden vectors and worked examples of registry, witnesses, log proofs and accusations, computed from seeds. */
import {
  encodeRegistryEntry,
  formatAccusation,
  formatAddCheckpoint,
  formatSlotProof,
  formatTlogProof,
  leafHash,
  proveInclusion,
  type RegistryEntry,
  slotBlind,
  slotLeaf,
  toBase64,
  toHex,
} from '../src/index.ts'
import { nodeSha256 } from './node-hash.ts'
import {
  COSIGNED_AT,
  cosigned,
  forkAccusation,
  headOf,
  leafAccusation,
  makeEpoch,
  makeSuccessor,
  REGISTRY,
  REGISTRY_VKEY,
  receiptOf,
  SampleLog,
  SECRET,
  WITNESSES,
} from './sample-registry.ts'
import {
  ascii,
  LOG,
  makeTrail,
  OPEN,
  ORIGIN,
  readNode,
  SLOT,
  seeded,
  seededKey,
  signedCheckpoint,
} from './sample-trail.ts'

const PLAN = [{ control: OPEN }, {}, {}, { control: { kind: 'redact', seqs: [2] } }] as const
const TRAIL = makeTrail(PLAN)
/** The same trail as somebody with the log key rewrote it. */
const REWRITTEN = makeTrail(PLAN, new Map([[2, '{"action":"rewritten"}']]))

/** Epochs 1 to 3 at 18:36, 18:37 and 18:38; the trail has its fourth entry since 18:36. */
const EPOCHS = [makeEpoch(1, 3, TRAIL, 3), makeEpoch(2, 4, TRAIL, 4), makeEpoch(3, 5, TRAIL, 4)]
/** An epoch that ought to have the fourth entry too, and has not. */
const LATE = [...EPOCHS.slice(0, 1), makeEpoch(2, 6, TRAIL, 3)]

async function entries(): Promise<RegistryEntry[]> {
  const successor = await makeSuccessor(seededKey(REGISTRY, 'successor').vkey)
  const continues = { kind: 'continues', origin: 'log.example/registry', size: 4711, root: seeded('root', 32) } as const
  return [...EPOCHS.map(({ entry }) => entry), successor, continues]
}

async function accusations() {
  return {
    leaf: formatAccusation(await leafAccusation(TRAIL, REWRITTEN, 2)),
    missing: formatAccusation({ kind: 'missing', receipt: await receiptOf(TRAIL, 3, 3), head: await headOf(LATE, 1) }),
    fork: formatAccusation(await forkAccusation(TRAIL, REWRITTEN, 3)),
    'fork, same size': formatAccusation(await forkAccusation(TRAIL, REWRITTEN, 4)),
  }
}

async function tlogProof(extra?: Uint8Array): Promise<string> {
  const proof = await proveInclusion(nodeSha256, readNode(TRAIL), 1, 4)
  const checkpoint = await cosigned(await signedCheckpoint(TRAIL))
  return formatTlogProof({ ...(extra && { extra }), index: 1, proof, checkpoint })
}

async function request(): Promise<string> {
  const log = new SampleLog(EPOCHS.map(({ entry }) => entry))
  return formatAddCheckpoint({ old: 2, proof: await log.consistency(2), checkpoint: await log.note() })
}

function policyText(): string {
  const [first, second] = WITNESSES.map(({ vkey }) => vkey)
  return (
    `# Whom we believe about the registry of log.example\nlog ${REGISTRY_VKEY} https://log.example/v1/registry\n` +
    `witness first ${first} https://w1.witness.example\nwitness second ${second}\n` +
    'group both all first second\nquorum both\n'
  )
}

/** By file name. */
export async function makeRegistryVectors(): Promise<Record<string, unknown>> {
  const log = new SampleLog(EPOCHS.map(({ entry }) => entry))
  return {
    'registry.json': {
      secret: toHex(seeded('registry secret', 32)),
      entries: (await entries()).map((entry) => {
        const text = encodeRegistryEntry(entry)
        return { text, leaf: toBase64(leafHash(nodeSha256, ascii.encode(text))) }
      }),
      slots: await Promise.all(
        EPOCHS.map(async (_, index) => {
          const { slot } = await headOf(EPOCHS, index)
          return { leaf: toBase64(slotLeaf(nodeSha256, slot.blind, slot.body)), proof: formatSlotProof(slot) }
        }),
      ),
      checkpoint: await cosigned(await log.note()),
    },
    'witness.json': {
      vkeys: WITNESSES.map(({ vkey }) => vkey),
      cosignedAt: COSIGNED_AT,
      policy: policyText(),
      request: await request(),
    },
    'tlog-proofs.json': {
      leaf: toBase64(TRAIL.leaves[1]!),
      vkey: LOG.vkey,
      plain: await tlogProof(),
      withExtra: await tlogProof(ascii.encode('entry 1')),
    },
    'accusations.json': { vkey: LOG.vkey, accusations: await accusations() },
  }
}

const fence = (label: string, text: string) => `\`\`\`${label}\n${text}${text.endsWith('\n') ? '' : '\n'}\`\`\`\n`

/** By page of docs/spec. */
export async function makeRegistryExamples(): Promise<Record<string, string>> {
  const { slot } = await headOf(EPOCHS, 1)
  const log = new SampleLog(EPOCHS.map(({ entry }) => entry))
  const [, , , successor] = await entries()
  return {
    registry: [
      `## Example: three epochs over the example trail in slot ${SLOT}\n`,
      "Entry 1 of the registry log, and the leaf hashes of the log's entries 0 to 2:\n",
      fence('entry', encodeRegistryEntry(EPOCHS[1]!.entry)),
      fence('leaves', log.leaves.map(toBase64).join('\n')),
      'The registry secret (hex), the blind of the slot in epoch 2 and the leaf hash of the slot:\n',
      fence(
        'slot',
        [
          toHex(seeded('registry secret', 32)),
          toBase64(slotBlind(nodeSha256, SECRET, 2, SLOT)),
          toBase64(slotLeaf(nodeSha256, slot.blind, slot.body)),
        ].join('\n'),
      ),
      'The slot proof that the trail gets for epoch 2:\n',
      fence('proof', formatSlotProof(slot)),
      'An entry that names a successor of the log key:\n',
      fence('successor', encodeRegistryEntry(successor!)),
    ].join('\n'),
    witness: [
      '## Example: two witnesses\n',
      'Their verifier keys (type 0x04), and the checkpoint of the example registry with both cosignatures:\n',
      fence('keys', WITNESSES.map(({ vkey }) => vkey).join('\n')),
      fence('checkpoint', await cosigned(await log.note())),
      'The request by which the log asked them, when they had cosigned size 2 before:\n',
      fence('request', await request()),
      'A policy that wants both:\n',
      fence('policy', policyText()),
    ].join('\n'),
    'tlog-proof': [
      '## Example: entry 1 of the example trail\n',
      'Its leaf hash, and its proof with two cosignatures:\n',
      fence('leaf', toBase64(TRAIL.leaves[1]!)),
      fence('proof', await tlogProof()),
    ].join('\n'),
    accusation: [
      '## Example: the tail was rewritten\n',
      `The log signed a receipt for entry 2 of ${ORIGIN}, and later a checkpoint under which entry 2 is another:\n`,
      fence('accusation', (await accusations()).leaf),
    ].join('\n'),
  }
}
