// Recovery within a start: what comes back from epoch objects before anything is sealed, and what is then sealed first.
import { mkdir, stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { type Control, registryOrigin } from '@affidavit/trail'
import type { Config } from '../config.ts'
import { noteRecall } from '../erase/recall.ts'
import { replayForgetting } from '../erase/replay.ts'
import { type Keys, openKeys } from '../keys/open-keys.ts'
import { openRegistrySecret } from '../keys/registry-key.ts'
import { KeyChest, type TenantKeys } from '../keys/tenant-keys.ts'
import { KeyUnusable } from '../keys/unusable.ts'
import { type Continued, continueLog, logNameOfCopies, readToContinue, type Vouched } from '../recovery/continue.ts'
import { forgetRetired } from '../recovery/generations.ts'
import { type Replayed, type ReplayStep, replayEpochs } from '../recovery/replay.ts'
import { RecoveryRefused } from '../recovery/repository.ts'
import { checkRestoredKeys } from '../recovery/restored-keys.ts'
import { isLostSealed, noteLost, readBehind, readLost } from '../recovery/statements.ts'
import { controlEntry } from '../seal/control.ts'
import type { Sealer } from '../seal/sealer.ts'
import { checkServer } from '../store/check.ts'
import { type Database, openDatabase } from '../store/database.ts'
import { readEpochHead } from '../store/epoch-object.ts'
import { type Log, silent } from '../store/log.ts'
import { migrate } from '../store/migrate.ts'
import { openObjects } from '../store/open-objects.ts'
import type { Sealable, TrailRef } from '../store/sealable.ts'
import type { Tenant, Tenants } from '../tenants/tenants.ts'
import { refuseBehindAnchors, refuseForgottenLog } from './anchored-head.ts'
import { keyPlace } from './key-place.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { ordersOf } from './orders.ts'
import { ownDatabase } from './safekeeping.ts'
import { checkSharedObjects } from './shared-objects.ts'

/**
 * Brings the database up to its newest epoch object.
 * @throws RecoveryRefused with a sentence for the operator
 */
export async function recover(
  config: Config,
  database: Database,
  keys: Keys,
  log: Log,
  onStep?: (step: ReplayStep) => void,
): Promise<Replayed | undefined> {
  return oneAtATime(database, 'affidavit.recovery', () => recoverAlone(config, database, keys, log, onStep))
}

async function recoverAlone(
  config: Config,
  database: Database,
  keys: Keys,
  log: Log,
  onStep: ((step: ReplayStep) => void) | undefined,
): Promise<Replayed | undefined> {
  const objects = await openObjects(config.objects)
  const keeper = database.pool('keeper')
  await checkSharedObjects(keeper, objects, config.objects)
  const retention = database.pool('retention')
  const { epoch } = await readBehind(keeper)
  const { reachable, replayed } = await replayEpochs({
    keeper,
    objects,
    secret: await secretOf(config, keys),
    chest: new KeyChest(keys.provider),
    forget: async () => {
      await replayForgetting({ retention, keeper, provider: keys.provider, objects })
      await forgetRetired(keeper, keys.provider)
      await noteRecall(retention, epoch)
    },
    log,
    ...(onStep && { onStep }),
  })
  // Before the registry moves on: the epoch of then says which erasures this database may not know.
  if (await ordersOf(keys, objects, retention).isAny(epoch)) await noteRecall(retention, epoch)
  if (replayed !== undefined)
    log.warn(replayed, 'later epochs were replayed; their payloads are lost, their proofs hold')
  await refuseBehindAnchors(config, database, keys, reachable, log)
  await checkRestoredKeys(config.keysDir, keeper, keys.provider)
  return replayed
}

async function secretOf(config: Config, keys: Keys): Promise<Buffer | undefined> {
  try {
    return await openRegistrySecret(config.keysDir, keys.provider, false)
  } catch (error) {
    if (error instanceof KeyUnusable && error.code === 'key_missing') return undefined
    throw error
  }
}

/**
 * Before keys are opened: the log name, as configured or as epoch objects were made under it, for a database that is new
 * and does not know it.
 * @throws RecoveryRefused when database and Objects are new and the keys are not
 */
export async function recallLogName(config: Config, database: Database): Promise<string | undefined> {
  const { rows } = await database
    .pool('keeper')
    .query<{ known: boolean }>(`select exists (select from affidavit.settings where name = 'deployment') as known`)
  if (rows[0]!.known) return config.logName
  const first = await firstEpoch(config)
  refuseForgottenLog(config, first !== undefined)
  if (config.logName !== undefined || first === undefined) return config.logName
  // Nothing is believed yet: the replay refuses what was not written with this deployment's key.
  const { header } = await readEpochHead(first, Buffer.alloc(32))
  const end = header.origin.lastIndexOf(registryOrigin(''))
  return end > 0 ? header.origin.slice(0, end) : undefined
}

/** The first epoch object that there is; registries that continue a lost one count on. */
async function firstEpoch(config: Config): Promise<Readable | undefined> {
  if (!config.objects.startsWith('s3:') && !(await stat(config.objects).catch(() => undefined))) return undefined
  const objects = await openObjects(config.objects)
  for await (const { key } of objects.list('epochs/')) return objects.read(key)
  return undefined
}

/** Seals `open` and `continues` as the first entries of trails that go on where lost ones ended, in one batch each. */
export async function sealContinued(
  database: Database,
  tenants: Tenants<TenantKeys>,
  sealer: Pick<Sealer, 'submit' | 'keyEpoch'>,
  open: (trail: TrailRef, keyEpoch: number) => Sealable,
): Promise<void> {
  for (const { tenant: number, continues, size, root } of await readToContinue(database.pool('keeper'))) {
    const { trail } = (await tenants.byNumber([number])).get(number)!
    const control: Control = { kind: 'continues', trail: continues, size, root }
    const facts = { reason: 'Database and objects were lost; the trail goes on where a copy outside vouches for it.' }
    const epoch = sealer.keyEpoch(trail.shard)
    const first = [open(trail, epoch), controlEntry(trail, epoch, control, facts, Date.now())]
    for (const outcome of await sealer.submit(first))
      if (outcome.kind !== 'sealed') throw new Error(`trail ${trail.id} could not be begun: ${outcome.kind}`)
  }
}

/** Seals what a recovery left to be said, before anybody is served. */
export async function sealLosses(
  database: Database,
  tenants: Tenants<TenantKeys>,
  announce: (tenant: Tenant<TenantKeys>, control: Control, facts: Record<string, unknown>) => Promise<unknown>,
): Promise<void> {
  const keeper = database.pool('keeper')
  for (const range of await readLost(keeper)) {
    const tenant = (await tenants.byNumber([range.tenant])).get(range.tenant)!
    // A later trail of the tenant goes on by now: it says where it continues, and the loss before is not its own.
    if (tenant.trail.number === range.trail && tenant.state === 'open' && !(await isLostSealed(keeper, range)))
      await announce(
        tenant,
        { kind: 'lost', from: range.first, to: range.until },
        { reason: 'The database was restored from a backup that was older than its newest epoch.' },
      )
    await noteLost(keeper, range)
  }
}

export type { Continued, Vouched } from '../recovery/continue.ts'

/**
 * `affidavit restore --continue-from`: begins anew in an empty data folder, where copies outside vouch for what was.
 * @throws RecoveryRefused, KeyUnusable, EmbeddedError with a sentence for the operator
 */
export async function continueFrom(config: Config, vouched: Vouched): Promise<Continued> {
  const logName = logNameOfCopies(vouched)
  const first = await firstEpoch(config)
  first?.destroy()
  if (first !== undefined)
    throw new RecoveryRefused(
      `${config.objects} holds epoch objects: nothing needs to be continued, a start replays them. If they are not to be ` +
        'trusted, name another place in AFFIDAVIT_OBJECTS.',
    )
  await mkdir(config.dataDir, { recursive: true })
  const embedded = await ownDatabase(config, silent)
  try {
    const login = config.databaseUrl ?? embedded!.connection
    await checkServer(login)
    await migrate(login, silent)
    const database = openDatabase({ login, log: silent })
    try {
      const keeper = database.pool('keeper')
      const keys = await openKeys({ keeper, ...keyPlace(config), logName })
      return await continueLog(keeper, keys, new KeyChest(keys.provider), vouched)
    } finally {
      await database.end()
    }
  } finally {
    await embedded?.stop()
  }
}
