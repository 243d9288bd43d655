// What the threat tests attack: a real server process, honest witnesses of ours, and a tenant whose trail goes back days.
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseCheckpoint, parseSlotProof, registryOrigin } from '@affidavit/trail'
import { type RunningWitness, startWitness } from '../../../cli/src/witness/server.ts'
import { WitnessState } from '../../../cli/src/witness/state.ts'
import { type Keys, openKeys } from '../../src/keys/open-keys.ts'
import { get, notarized, type Service, trailInfo } from '../check-trail.ts'
import { type ServerProcess, startProcess, temporaryFolder } from '../server-process.ts'
import { OwnDatabase } from './own-database.ts'

export const TENANT = 'victim'
const LOG_NAME = 'log.test'

/** `affidavit witness`, in the test's process. */
export class Witness {
  readonly name: string
  readonly state: WitnessState
  readonly #running: RunningWitness

  private constructor(name: string, state: WitnessState, running: RunningWitness) {
    this.name = name
    this.state = state
    this.#running = running
  }

  static async start(folder: string, name: string, logVkey: string): Promise<Witness> {
    const state = await WitnessState.open(join(folder, name), `witness.test/${name}`, [logVkey])
    return new Witness(name, state, await startWitness({ state, host: '127.0.0.1', port: 0, log: () => {} }))
  }

  get vkey(): string {
    return this.state.vkey
  }

  /** As in a policy file. */
  get line(): string {
    return `witness ${this.name} ${this.vkey} ${this.#running.url}`
  }

  async stop(): Promise<void> {
    await this.#running.stop()
    await this.state.close()
  }
}

export interface DeploymentOptions {
  /** Names. */
  readonly witnesses?: readonly string[]
  /** The database's present at the beginning, as an interval from now. */
  readonly clock?: string
  /** Between epochs. */
  readonly interval_ms?: number
}

export interface CopyOptions {
  /** What is done to the copy before its server starts. */
  readonly before?: (copy: Stopped) => Promise<void>
  /** Between epochs. */
  readonly interval_ms?: number
  /** This server is not started again: nobody asks it before its clock is set. */
  readonly halt?: boolean
}

/** One event, as its sender was told. */
export interface Told {
  readonly id: string
  readonly seq: number
}

/** A server with its database and folder. */
export class Deployment {
  readonly database: OwnDatabase
  readonly server: ServerProcess
  readonly witnesses: readonly Witness[]
  /** For whatever a visitor keeps. */
  readonly folder: string
  readonly #policy: string

  private constructor(
    database: OwnDatabase,
    server: ServerProcess,
    witnesses: readonly Witness[],
    { folder, policy }: { folder: string; policy: string },
  ) {
    this.database = database
    this.server = server
    this.witnesses = witnesses
    this.folder = folder
    this.#policy = policy
  }

  static async start({ witnesses = ['honest'], clock = '0', ...more }: DeploymentOptions = {}): Promise<Deployment> {
    const database = await OwnDatabase.make(clock)
    const folder = await mkdtemp(join(tmpdir(), 'affidavit-threats-'))
    const data = await temporaryFolder()
    const { logKey } = await keysOf(database, data)
    const running: Witness[] = []
    for (const name of witnesses) running.push(await Witness.start(folder, name, logKey.vkey(registryOrigin(LOG_NAME))))
    const policy = join(folder, 'policy')
    await writeFile(
      policy,
      `${running.map(({ line }) => line).join('\n')}\ngroup g all ${witnesses.join(' ')}\nquorum g\n`,
    )
    const server = await startProcess({ databaseUrl: database.url, folder: data, settings: settings(policy, more) })
    return new Deployment(database, server, running, { folder, policy })
  }

  get service(): Service {
    return { url: this.server.url, key: this.server.operatorKey }
  }

  /**
   * Another database and another folder with all that is in these, and a server on them: what an operator can make of a
   * backup. This server stands still while it is copied.
   */
  async copy({ before, halt = false, ...more }: CopyOptions = {}): Promise<Deployment> {
    const data = await temporaryFolder()
    await this.server.stop()
    const database = await this.database.copy().finally(async () => {
      await cp(this.server.folder, data, { recursive: true })
      if (!halt) await this.server.start()
    })
    await before?.({ database, folder: data })
    // It asks no witness, for it has no address of any: one that knows more would stop its start.
    const policy = join(data, 'policy')
    await writeFile(policy, (await readFile(this.#policy, 'utf8')).replace(/ http:\/\/\S+/g, ''))
    const options = { databaseUrl: database.url, folder: data, settings: settings(policy, more) }
    return new Deployment(database, await startProcess(options), [], { folder: this.folder, policy })
  }

  /** Does something to the database and the folder while the server stands still. */
  async while(work: (stopped: Stopped) => Promise<void>): Promise<void> {
    await this.server.stop()
    await work({ database: this.database, folder: this.server.folder })
    await this.server.start()
  }

  /** Sets the database's clock to an interval from now; a server that runs would notice the leap and wait. */
  clock(jump: string): Promise<void> {
    return this.while(({ database }) =>
      database.as(async (superuser) => {
        await superuser.query('update fake.clock set jump = $1::interval', [jump])
      }),
    )
  }

  /** Seals so many events, in one batch. */
  async record(count: number, more: object = {}): Promise<Told[]> {
    const events = Array.from({ length: count }, (_, n) => ({
      tenant: TENANT,
      action: 'document.updated',
      actor: { type: 'user', id: `user_${n % 5}`, name: `Person ${n % 5}`, email: `p${n % 5}@example.com` },
      targets: [{ type: 'document', id: `doc_${n % 7}` }],
      ...more,
    }))
    const { accepted, results } = (await this.post('/v1/events/batch', events)) as {
      accepted: number
      results: Told[]
    }
    if (accepted !== count) throw new Error(`${accepted} of ${count} were accepted: ${JSON.stringify(results[0])}`)
    return results
  }

  post(path: string, body: object, key?: string): Promise<unknown> {
    return this.#send('POST', path, body, key)
  }

  put(path: string, body: object): Promise<unknown> {
    return this.#send('PUT', path, body)
  }

  async #send(method: string, path: string, body: object, key = this.service.key): Promise<unknown> {
    const response = await fetch(this.server.url + path, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return JSON.parse(text)
  }

  /** Waits until an epoch that is served binds all entries sealed so far. @returns how many */
  async bound({ patience_ms = 60_000, size = 0 } = {}): Promise<number> {
    const wanted = size || (await this.sealed())
    let last: unknown
    for (const until = Date.now() + patience_ms; Date.now() < until; await sleep(50)) {
      const [slot, checkpoint] = await Promise.all([
        get(this.service, `/v1/trails/${TENANT}/slot`),
        get(this.service, '/v1/registry/checkpoint'),
      ])
      last = await slot.text()
      const entries = parseSize(await checkpoint.text())
      if (slot.status !== 200 || checkpoint.status !== 200 || !isVouchedFor(checkpoint)) continue
      const { body, index } = parseSlotProof(String(last))
      if (parseCheckpoint(body).size >= wanted && index < entries) return wanted
    }
    throw new Error(`no epoch binds ${wanted} entries: ${last}`)
  }

  /** Waits for an epoch that was made after this call: the next one to be served may have been made before it. */
  async epoch({ patience_ms = 60_000 } = {}): Promise<void> {
    const newest = async () => {
      const checkpoint = await get(this.service, '/v1/registry/checkpoint')
      return { size: parseSize(await checkpoint.text()), isVouched: isVouchedFor(checkpoint) }
    }
    const before = (await newest()).size
    for (const until = Date.now() + patience_ms; Date.now() < until; await sleep(50)) {
      const { size, isVouched } = await newest()
      if (isVouched && size > before + 1) return
    }
    throw new Error(`there is no epoch after ${before}`)
  }

  /** Waits until the trail's own checkpoint covers so many entries. */
  async notarized(size: number): Promise<void> {
    await notarized(this.service, TENANT, size)
  }

  sealed(): Promise<number> {
    return this.database.as(async (superuser) => {
      const { rows } = await superuser.query<{ size: number }>(
        `select h.size from affidavit.heads h join affidavit.trails t on t.number = h.trail
           join affidavit.tenants o on o.number = t.tenant where o.id = $1 order by t.ordinal desc limit 1`,
        [TENANT],
      )
      return rows[0]!.size
    })
  }

  vkey(): Promise<string> {
    return trailInfo(this.service, TENANT).then(({ vkey }) => vkey)
  }

  async stop(): Promise<void> {
    await this.server.remove()
    for (const witness of this.witnesses) await witness.stop()
    await this.database.drop()
    if (this.witnesses.length > 0) await rm(this.folder, { recursive: true, force: true })
  }
}

export interface Stopped {
  readonly database: OwnDatabase
  /** The server's data folder. */
  readonly folder: string
}

/** The private keys, which the operator has. */
export const keysOf = (database: OwnDatabase, folder: string): Promise<Keys> =>
  database.asServer((store) =>
    openKeys({ keeper: store.pool('keeper'), folder: join(folder, 'keys'), logName: LOG_NAME }),
  )

const settings = (policy: string, { interval_ms = 500 }: { interval_ms?: number } = {}) => ({
  AFFIDAVIT_REGISTRY_INTERVAL_MS: String(interval_ms),
  AFFIDAVIT_SCRUB_EVENTS: '0', // an operator who attacks does not let it run
  AFFIDAVIT_WITNESS_POLICY: policy,
})

/** Whether the witnesses have cosigned it. */
const isVouchedFor = ({ headers }: Response) => headers.get('affidavit-quorum') !== 'missing'

/** Entries under a checkpoint; 0 for a problem. */
function parseSize(note: string): number {
  const size = Number(note.split('\n')[1])
  return Number.isSafeInteger(size) ? size : 0
}
