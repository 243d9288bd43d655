// Opens everything in the order in which it is needed, hands the parts to one another, and closes them in reverse.
// Nothing else opens a file, a socket or a connection on its own account.
import { link, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Control } from '@affidavit/trail'
import type { FastifyInstance } from 'fastify'
import { Partitions } from './archive/partitions.ts'
import { openAnchors, startAnchors } from './assembly/anchors.ts'
import { assembleForget } from './assembly/forget.ts'
import { keyPlace, threadKeys } from './assembly/key-place.ts'
import { openLog } from './assembly/log.ts'
import { opening } from './assembly/opening.ts'
import { assemblePacks } from './assembly/packs.ts'
import { policyEntries, promisedRetention } from './assembly/policy-entries.ts'
import { recallLogName, recover, sealContinued, sealLosses } from './assembly/recovery.ts'
import { openRegistry, registryReader, startRegistry } from './assembly/registry.ts'
import { ownDatabase } from './assembly/safekeeping.ts'
import { startScrub } from './assembly/scrub.ts'
import { standardCatalog } from './catalog/standard-actions.ts'
import type { Config } from './config.ts'
import { Gate } from './http/gate.ts'
import { keyOperations } from './http/keys.ts'
import { openApi } from './http/openapi.ts'
import { OwnTenants } from './http/own-tenants.ts'
import { type PlatformEvent, PlatformRecorder, tenantCreated } from './http/platform-events.ts'
import { RateLimit } from './http/rate-limit.ts'
import { readOperations } from './http/read-events.ts'
import { refuse } from './http/refused.ts'
import { scrubOperations } from './http/scrub.ts'
import { buildServer } from './http/server.ts'
import { Metrics, type Readiness, statusOperations } from './http/status.ts'
import { tenantOperations } from './http/tenants.ts'
import { verifyOperations } from './http/verify.ts'
import { writeOperations } from './http/write-events.ts'
import { Ingest } from './ingest/accept.ts'
import { ActionNumbers } from './ingest/action-numbers.ts'
import { trailName } from './keys/log-key.ts'
import { type Keys, openKeys } from './keys/open-keys.ts'
import { Personas } from './keys/personas.ts'
import { Subjects } from './keys/subjects.ts'
import { KeyChest, type TenantKeys } from './keys/tenant-keys.ts'
import { NotaryThread } from './notarize/thread.ts'
import { Events } from './query/events.ts'
import { Proofs } from './query/proof.ts'
import type { RegistryThread } from './registry/thread.ts'
import { controlEntry } from './seal/control.ts'
import { receipt } from './seal/receipts.ts'
import { Sealer } from './seal/sealer.ts'
import { Background } from './store/background.ts'
import { checkServer } from './store/check.ts'
import { type Database, type Login, openDatabase } from './store/database.ts'
import type { Embedded } from './store/embedded.ts'
import type { Log } from './store/log.ts'
import { migrate } from './store/migrate.ts'
import { openObjects } from './store/open-objects.ts'
import { ApiKeys, type FirstUse } from './tenants/api-keys.ts'
import { scopes } from './tenants/scopes.ts'
import { type Tenant, Tenants } from './tenants/tenants.ts'

export interface RunningServer {
  /** Where it listens, for example http://127.0.0.1:4100. */
  readonly url: string
  /** Path of the operator key's file, if this start made it. */
  readonly operatorKeyFile: string | null
  /** Path of the recovery key that still waits to be moved offline, or null. */
  readonly recoveryFile: string | null
  /** Stops taking requests, seals what was taken, and closes everything. */
  stop(): Promise<void>
}

/** Batches under work at once: enough for commits to carry many events, few enough to stay small. */
const batchesAtOnce = 8
/** Bytes of what is made of their bodies, about. */
const workBytes = 16 * 1024 * 1024

/** Runs a stack of closers in reverse, each once, whatever the others do. */
class Closers {
  readonly #steps: (() => Promise<unknown> | unknown)[] = []

  add(step: () => Promise<unknown> | unknown): void {
    this.#steps.push(step)
  }

  async close(log: Log): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        log.error({ err: error }, 'closing failed')
      }
    }
  }
}

/**
 * Starts a server.
 * @throws EmbeddedError, StoreRefused, MigrationRefused, KeyUnusable with a sentence for the operator
 */
export async function startServer(config: Config): Promise<RunningServer> {
  const log = openLog(config.logLevel)
  const closers = new Closers()
  try {
    return await start(config, log, closers)
  } catch (error) {
    await closers.close(log)
    throw error
  }
}

async function start(config: Config, log: Log, closers: Closers): Promise<RunningServer> {
  await mkdir(config.dataDir, { recursive: true })
  const embedded = await ownDatabase(config, log)
  if (embedded !== null) closers.add(() => embedded.stop())
  const login = config.databaseUrl ?? embedded!.connection
  await checkServer(login)
  await migrate(login, log)
  const database = openDatabase({ login, log, connections: { sealer: config.sealConnections + 2 } })
  closers.add(() => database.end())
  const partitions = new Partitions(database.pool('retention'), log)
  await partitions.start()
  closers.add(() => partitions.stop())
  const logName = await recallLogName(config, database)
  const keys = await openKeys({
    keeper: database.pool('keeper'),
    ...keyPlace(config),
    ...(logName !== undefined && { logName }),
  })
  await recover(config, database, keys, log)
  const notary = await NotaryThread.start(
    {
      login,
      keys: threadKeys(config, keys),
      logName: keys.logName,
      interval_ms: config.notaryIntervalMs,
    },
    log,
  )
  closers.add(() => notary.stop())
  // The notary has its thread to itself: trails are to be signed every second, whatever the others do.
  const background = new Background(log)
  const registry = await startRegistry(config, login, keys, log, background)
  closers.add(() => registry.stop())
  const anchors = await startAnchors(config, login, log, background)
  closers.add(() => anchors.stop())
  const ground: Ground = { login, background, database, embedded, keys, partitions, notary, registry, started: false }
  const app = await assemble(config, log, closers, ground)
  const url = await app.server.listen({ host: config.host, port: config.port })
  closers.add(() => app.server.close())
  // After listening: a start that fails on a taken port must not use up the one start that shows the key.
  const operatorKeyFile = await makeOperatorKey(config, app.apiKeys)
  ground.started = true
  log.info({ url, database: embedded === null ? 'external' : 'embedded' }, 'listening')
  return { url, operatorKeyFile, recoveryFile: keys.recoveryFile, stop: () => closers.close(log) }
}

interface Ground {
  readonly login: Login
  readonly background: Background
  readonly database: Database
  readonly embedded: Embedded | null
  readonly keys: Keys
  readonly partitions: Partitions
  readonly notary: NotaryThread
  readonly registry: RegistryThread
  /** Whether the start is complete, the operator key included: whoever waits for readiness may read its file. */
  started: boolean
}

async function assemble(
  config: Config,
  log: Log,
  closers: Closers,
  ground: Ground,
): Promise<{ server: FastifyInstance; apiKeys: ApiKeys }> {
  const { database, keys } = ground
  const catalog = standardCatalog()
  const keeper = database.pool('keeper')
  const ingestPool = database.pool('ingest')
  const tenants = new Tenants<TenantKeys>({ keeper, chest: new KeyChest(keys.provider) })
  const subjects = new Subjects({ ingest: ingestPool, keeper, provider: keys.provider })
  const sealer = await Sealer.open({
    pool: database.pool('sealer'),
    log,
    connections: config.sealConnections,
    opening: (trail, keyEpoch) => opening(keys, trail, keyEpoch, null),
    onSealed: (_shard, events) => {
      metrics.sealed(events)
      ground.notary.wake()
    },
  })
  closers.add(() => sealer.drain())
  const note = (event: PlatformEvent) => recorder.note(event)
  const scrub = await startScrub(config, ground.login, database, sealer, note, log, ground.background)
  closers.add(() => scrub.stop())
  const metrics = new Metrics({
    waitingEvents: () => sealer.waitingEvents,
    waitingBytes: () => sealer.waitingBytes,
    stoppedLanes: () => sealer.stopped.length,
    scrub: scrub.status,
    unnotarizedEvents: async () =>
      (await ground.notary.status())?.lag.reduce((sum, { events }) => sum + events, 0) ?? 0,
  })
  const ingest = new Ingest({
    catalog,
    tenants,
    subjects,
    actions: new ActionNumbers(ingestPool),
    seal: (sealables) => sealer.submit(sealables),
    onTenantMade: (tenant, key) => recorder.note(tenantCreated(tenant, { type: 'api_key', ...key })),
    onFull: () => sealer.noteFull(),
  })
  const recorder = new PlatformRecorder(ingest, log)
  closers.add(() => recorder.flush())
  const apiKeys = new ApiKeys({
    keeper,
    env: config.keyEnv,
    onFirstUse: (use) => void noteFirstUse(use, tenants, recorder, log),
    onError: (error) => log.warn({ err: error }, 'the last use of API keys could not be written'),
  })
  closers.add(() => apiKeys.close())
  await tenants.operator()
  const personas = new Personas({ keeper, provider: keys.provider })
  const proofs = new Proofs({ store: database, personas })
  const events = new Events({ store: database, personas })
  const registry = registryReader(config, database, keys)
  const origin = (trailId: string) => trailName(keys.logName, trailId)
  const vkey = (trailId: string) => keys.logKey.vkey(origin(trailId))
  const signersOf = (trailId: string) => [keys.logKey, ...keys.logKey.also].map((key) => key.signer(origin(trailId)))
  const announce = async (tenant: Tenant<TenantKeys>, control: Control, facts: Record<string, unknown>) => {
    for (;;) {
      const epoch = sealer.keyEpoch(tenant.trail.shard)
      const [outcome] = await sealer.submit([controlEntry(tenant.trail, epoch, control, facts, Date.now())])
      if (outcome?.kind === 'unavailable') throw outcome.error
      if (outcome?.kind === 'overloaded') throw refuse('rate_limited', "The tenant's queue is full.")
      if (outcome?.kind === 'sealed') return outcome.seq
      // Keys were destroyed meanwhile: a control entry holds none, and is made again under the new epoch.
      if (outcome?.kind !== 'stale') throw new Error(`a control entry was not sealed: ${outcome?.kind}`)
    }
  }
  await sealContinued(database, tenants, sealer, (trail, keyEpoch) => opening(keys, trail, keyEpoch, null))
  await sealLosses(database, tenants, announce)
  const own = new OwnTenants(tenants)
  const objects = await openObjects(config.objects)
  const forget = assembleForget({
    database,
    keys,
    objects,
    tenants,
    own,
    subjects,
    personas,
    recorder,
    announce,
    log,
  })
  await forget.start()
  closers.add(() => forget.stop())
  const packs = assemblePacks(
    { config, login: ground.login, logName: keys.logName, registry, thread: ground.registry, log },
    { store: database, personas, tenants: own, proofs, origin, vkey },
  )
  const ready = () => readiness(ground, sealer)
  const operations = [
    ...writeOperations({
      ingest,
      rate: new RateLimit(config.rateEvents),
      gate: new Gate(workBytes, batchesAtOnce),
      receipt: (run) => receipt(run, signersOf),
      tenantId: (number) => own.idOf(number),
    }),
    ...tenantOperations({
      catalog,
      tenants,
      own,
      recorder,
      vkey,
      sealPolicy: async (tenant, principal) => {
        const before = (await tenants.get(tenant.id))?.policy ?? null
        const facts = { by: { id: principal.keyId, name: principal.name }, policy: tenant.policy }
        for (const control of await policyEntries(
          database.pool('follower'),
          tenant.trail.number,
          before,
          tenant.policy,
        )) {
          await announce(tenant, control, facts)
        }
      },
      promisedRetention: (tenant) => promisedRetention(database.pool('follower'), tenant.number),
    }),
    ...keyOperations({ tenants, own, apiKeys, recorder }),
    ...readOperations({
      catalog,
      tenants: own,
      events,
      proofs,
      operatorName: config.operatorName,
    }),
    ...packs.operations,
    ...verifyOperations({ vkey }),
    ...openRegistry(config, { registry, thread: ground.registry, keys, tenants: own, recorder, metrics }),
    ...forget.operations,
    ...scrubOperations({ pool: database.pool('scrub'), ...scrub, recorder }),
    ...statusOperations(metrics, ready),
    ...openAnchors(config, database, metrics, {
      readiness: ready,
      notary: () => ground.notary.status(),
      registry: () => ground.registry.status(),
      scrub: scrub.status,
    }),
  ]
  const server = buildServer({
    operations: [...operations, openApi(operations)],
    apiKeys,
    log,
    onAnswer: (operation, status, seconds) => metrics.answered(operation, status, seconds),
  })
  server.addHook('preClose', packs.stop)
  return { server, apiKeys }
}

/** Ready means that an event sent now would be sealed: the database answers and takes writes, no lane is stopped. */
async function readiness(ground: Ground, sealer: Sealer): Promise<Readiness> {
  const { database, embedded, partitions, started } = ground
  const waitingFor: string[] = started ? [] : ['the start is not complete']
  if (embedded !== null && embedded.state !== 'running') waitingFor.push(`the embedded database is ${embedded.state}`)
  try {
    const { rows } = await database.pool('sealer').query<{ ready: boolean; today: boolean }>(
      `select not pg_is_in_recovery() as ready,
         exists (select from affidavit.event_days where day = (clock_timestamp() at time zone 'UTC')::date) as today`,
    )
    if (rows[0]?.ready !== true) waitingFor.push('the database is a read-only replica')
    if (rows[0]?.today !== true) waitingFor.push("there is no partition for today's events")
  } catch {
    waitingFor.push('the database does not answer')
  }
  if (!partitions.status.tomorrow) waitingFor.push("there is no partition for tomorrow's events")
  if (sealer.full) waitingFor.push('the storage of the database is full')
  for (const { shard, reason } of sealer.stopped) waitingFor.push(`lane ${shard} stopped: ${reason.message}`)
  return { ready: waitingFor.length === 0, waitingFor }
}

async function noteFirstUse(
  use: FirstUse,
  tenants: Tenants<TenantKeys>,
  recorder: PlatformRecorder,
  log: Log,
): Promise<void> {
  try {
    const tenant = use.tenant === null ? undefined : (await tenants.byNumber([use.tenant])).get(use.tenant)?.id
    const day = new Date(use.at_ms).toISOString().slice(0, 10)
    recorder.note({
      id: `key.used:${use.keyId}:${day}`,
      tenant,
      action: 'affidavit.key.used',
      actor: { type: 'api_key', id: use.keyId, name: use.name },
      targets: [{ type: 'api_key', id: use.keyId, name: use.name }],
    })
  } catch (error) {
    log.warn({ err: error, key: use.keyId }, 'the first use of a key could not be recorded')
  }
}

/**
 * At the first start of a deployment: an operator key in a file that only its owner can read. The file appears whole or
 * not at all; of several servers that start at once on one folder, one makes it.
 */
async function makeOperatorKey(config: Config, apiKeys: ApiKeys): Promise<string | null> {
  const existing = await apiKeys.list(null)
  if (existing.length > 0) return null
  const path = join(config.dataDir, 'operator.key')
  const draft = `${path}.${process.pid}`
  const scopeNames = Object.keys(scopes)
  const { key, record } = await apiKeys.create({
    name: 'Operator',
    tenant: null,
    scopes: scopeNames,
    createdBy: 'first start',
  })
  try {
    await writeFile(draft, `${key}\n`, { mode: 0o600, flush: true })
    await link(draft, path)
  } catch (error) {
    await apiKeys.revoke(record.id, 'any')
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null
    throw error
  } finally {
    await rm(draft, { force: true })
  }
  return path
}
