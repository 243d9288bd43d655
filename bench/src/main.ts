// npm run bench -- ingest | single | growth | query | registry | forget | pack | storage | tessera | verify | verify-memory | witness
//   [--folder DIR] [--events N] [--runs N]
//   query: [--searches N] [--only PART OF A NAME] [--keep], which leaves the stored events in DIR for the next run
//   storage: [--keep], which leaves the data folder for a closer look
//   growth: [--stored N] of the larger store; --events are sent to each
//   forget: [--people N] of the large tenant, --events of the one person
//   witness: --events is the number of epochs it was away for
//   registry: [--trails N], --events is the size of the large trail, --runs the number of epochs
import { parseArgs } from 'node:util'
import { forget } from './forget.ts'
import { growth } from './growth.ts'
import { ingest } from './ingest.ts'
import { pack } from './pack.ts'
import { query } from './query.ts'
import { registry } from './registry.ts'
import { single } from './single.ts'
import { storage } from './storage.ts'
import { tessera } from './tessera.ts'
import { verify } from './verify.ts'
import { verifyMemory } from './verify-memory.ts'
import { witness } from './witness.ts'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    folder: { type: 'string', default: '/var/tmp' },
    events: { type: 'string' },
    runs: { type: 'string', default: '3' },
    searches: { type: 'string', default: '200' },
    stored: { type: 'string', default: '10000000' },
    trails: { type: 'string', default: '100000' },
    people: { type: 'string', default: '500000' },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
})
const runs = Number(values.runs)
const events = (fallback: number) => Number(values.events ?? fallback)

const benchmarks: Record<string, () => Promise<void>> = {
  ingest: () => ingest(values.folder, events(200_000), runs),
  single: () => single(values.folder, events(10_000), runs),
  growth: () => growth(values.folder, Number(values.stored), events(100_000), runs),
  query: () => query({ ...values, events: events(200_000), searches: Number(values.searches) }),
  registry: () =>
    registry({ folder: values.folder, trails: Number(values.trails), events: events(200_000), epochs: runs }),
  forget: () => forget({ ...values, events: events(100_000), people: Number(values.people), runs }),
  pack: () => pack(values.folder, events(1_000_000), runs),
  storage: () => storage(values.folder, events(300_000), values.keep),
  tessera: () => tessera(values.folder, events(200_000), runs),
  verify: () => verify(values.folder, events(200_000), runs),
  'verify-memory': () => verifyMemory(values.folder, events(3_000_000), runs),
  witness: () => witness(values.folder, events(10_000), runs),
}

const chosen = benchmarks[positionals[0] ?? '']
if (chosen === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(benchmarks).join(' | ')} [--folder DIR] [--events N] [--runs N]`)
  process.exit(2)
}
await chosen()
