// A witness that was away: from the start of the anchors until it has cosigned the newest of ten thousand epochs that it has
// not seen, beside what one epoch takes.
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parsePolicy } from '@affidavit/trail'
import pg from 'pg'
import { startWitness } from '../../cli/src/witness/server.ts'
import { WitnessState } from '../../cli/src/witness/state.ts'
import { Anchors } from '../../server/src/anchor/anchors.ts'
import { Outbound } from '../../server/src/anchor/outbound.ts'
import { type Login, openDatabase } from '../../server/src/store/database.ts'
import { startEmbedded } from '../../server/src/store/embedded.ts'
import { silent } from '../../server/src/store/log.ts'
import { migrate } from '../../server/src/store/migrate.ts'
import { sha256 } from '../../server/src/store/sha256.ts'
import { TestRegistry } from '../../server/test/test-registry.ts'
import { figure, median, report } from './report.ts'

interface Caught {
  readonly ms: number
  readonly cpu_ms: number
}

export async function witness(folder: string, epochs: number, runs: number): Promise<void> {
  const home = await mkdtemp(join(folder, 'affidavit-witness-'))
  const postgres = await startEmbedded({ folder: join(home, 'postgres'), log: silent })
  try {
    await migrate(postgres.connection, silent)
    await measure({ home, login: postgres.connection, epochs, runs })
  } finally {
    await postgres.stop()
    await rm(home, { recursive: true, force: true })
  }
}

interface Measured {
  readonly home: string
  readonly login: Login
  readonly epochs: number
  readonly runs: number
}

async function measure({ home, login, epochs, runs }: Measured): Promise<void> {
  const sql = new pg.Client(login)
  sql.on('error', () => {}) // its server stops first where a run fails
  await sql.connect()
  const database = openDatabase({ login, log: silent })
  const registry = new TestRegistry(sql)
  const state = await WitnessState.open(join(home, 'witness'), 'witness.bench/one', [registry.vkey])
  let requests = 0
  const own = await startWitness({ state, host: '127.0.0.1', port: 0, log: () => requests++ })
  const policy = parsePolicy(sha256, `witness one ${state.vkey} ${own.url}\nquorum one`)

  const isKept = async () => {
    const { rows } = await sql.query('select 1 from affidavit.registry_cosignatures where size = $1', [registry.size])
    return rows.length === 1
  }

  /** As a server does it at its start, until the witness's word is in the database. */
  const catchUp = async (): Promise<Caught> => {
    const anchors = new Anchors({
      pool: database.pool('notary'),
      session: () => database.dedicated('notary'),
      log: silent,
      policy,
      places: [],
      outbound: new Outbound(),
    })
    const before = process.cpuUsage()
    const start = performance.now()
    anchors.start()
    const deadline = start + 60_000
    while (state.head(registry.origin)?.size !== registry.size || !(await isKept())) {
      if (performance.now() > deadline) throw new Error('the witness does not catch up')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const ms = performance.now() - start
    const { user, system } = process.cpuUsage(before)
    await anchors.stop()
    return { ms, cpu_ms: (user + system) / 1000 }
  }

  await registry.append()
  await catchUp()
  const one: Caught[] = []
  const many: Caught[] = []
  const asked: number[] = []
  for (let run = 0; run < runs; run++) {
    await registry.append()
    one.push(await catchUp())
    const from = registry.size
    await registry.append(epochs)
    // Each of them left a note that nobody cosigned.
    await sql.query(
      `insert into affidavit.registry_notes (size, epoch, root, note)
         select n, n, newest.root, newest.note from generate_series($1::bigint, $2::bigint) as n,
           (select root, note from affidavit.registry_notes where size = $3) as newest`,
      [from + 1, registry.size - 1, registry.size],
    )
    requests = 0
    many.push(await catchUp())
    asked.push(requests)
  }
  await own.stop()
  await state.close()
  await sql.end()
  await database.end()
  const ms = (all: readonly Caught[]) => all.map((caught) => caught.ms)
  report(
    'witness',
    `
A registry log in the server's own tables, written without the trails below it (tree, tiles and signatures are real), and one
witness as \`affidavit witness\` runs it. It was away for ${epochs.toLocaleString('en')} epochs, each of which left a signed checkpoint. Timed: from the start
of the anchors, with what they do at a start, until the witness has cosigned the newest checkpoint, over HTTP on this machine.
Baseline of the same run: the same after one epoch. CPU is that of anchors and witness together, in one process. What
anchors send is one consistency proof, whatever number of epochs lies between.`,
    [
      figure(`catch-up after ${epochs.toLocaleString('en')} epochs`, 'ms', ms(many), '≤ 5,000'),
      figure('catch-up after one epoch', 'ms', ms(one)),
      figure('ratio', '×', [median(ms(many)) / median(ms(one))]),
      figure(
        `CPU after ${epochs.toLocaleString('en')} epochs`,
        'ms',
        many.map(({ cpu_ms }) => cpu_ms),
      ),
      figure(
        'CPU after one epoch',
        'ms',
        one.map(({ cpu_ms }) => cpu_ms),
      ),
      figure('answers of the witness to a catch-up', 'answers', asked),
    ],
  )
}
