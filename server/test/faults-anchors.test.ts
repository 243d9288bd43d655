// What happens to the anchors themselves: the thread in which they run dies, and a witness is away for a day.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parsePolicy } from '@affidavit/trail'
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { startWitness } from '../../cli/src/witness/server.ts'
import { WitnessState } from '../../cli/src/witness/state.ts'
import { Anchors } from '../src/anchor/anchors.ts'
import { Outbound } from '../src/anchor/outbound.ts'
import { type AnchorState, readStates } from '../src/anchor/states.ts'
import { AnchorThread } from '../src/anchor/thread.ts'
import { Background, Task } from '../src/store/background.ts'
import { silent } from '../src/store/log.ts'
import { sha256 } from '../src/store/sha256.ts'
import { freshDatabase, type TestDatabase } from './database.ts'
import { freePort } from './ports.ts'
import { TestRegistry } from './test-registry.ts'

let database: TestDatabase
let registry: TestRegistry
let folder: string

beforeEach(async () => {
  database = await freshDatabase()
  registry = new TestRegistry(database.superuser)
  folder = await mkdtemp(join(tmpdir(), 'affidavit-anchors-'))
})
afterEach(async () => {
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

/** `affidavit witness` at an address that stays its own while it is away. */
async function witness(name: string): Promise<{ line: string; leave(): Promise<void>; comeBack(): Promise<void> }> {
  const port = await freePort()
  const open = () => WitnessState.open(join(folder, name), `witness.test/${name}`, [registry.vkey])
  let state = await open()
  const serve = () => startWitness({ state, host: '127.0.0.1', port, log: () => {} })
  let running: Awaited<ReturnType<typeof serve>> | undefined = await serve()
  const leave = async () => {
    await running?.stop()
    if (running !== undefined) await state.close()
    running = undefined
  }
  onTestFinished(leave)
  return {
    line: `witness ${name} ${state.vkey} http://127.0.0.1:${port}`,
    leave,
    comeBack: async () => {
      state = await open()
      running = await serve()
    },
  }
}

async function until(name: string, wanted: (state: AnchorState) => boolean): Promise<AnchorState> {
  let last: AnchorState | undefined
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(10)) {
    last = (await readStates(database.store.pool('notary'))).find((state) => state.name === name)
    if (last !== undefined && wanted(last)) return last
  }
  throw new Error(`${name} stays ${JSON.stringify(last)}`)
}

/** A task that takes its thread, and all others in it, down with it. */
const fatal = new URL(
  `data:text/javascript,${encodeURIComponent(`
  export async function openTask() {
    return { receive() { setImmediate(() => { throw new Error('dead') }) }, async stop() {} }
  }`)}`,
)

test('their thread dies: they are begun again, and go on with the next checkpoint', async () => {
  const own = await witness('own')
  await writeFile(join(folder, 'policy'), `${own.line}\nquorum own\n`)
  const errors: string[] = []
  const log = { ...silent, error: (fields: object) => errors.push(String((fields as { err: Error }).err)) }
  const background = new Background(log)
  const settings = { login: database.login, policy: join(folder, 'policy'), interval_ms: 50, retry_ms: 100 }
  await registry.append()
  const thread = await AnchorThread.start(settings, log, background)
  onTestFinished(() => thread.stop())
  await until('own', ({ size }) => size === 1)
  const bomb = await Task.start(background, { name: 'the bomb', module: fatal, settings: {} }, log)
  onTestFinished(() => bomb.stop())
  expect(bomb.send('now')).toBe(true)
  await vi.waitUntil(() => errors.length > 0, { timeout: 60_000 })
  await registry.append(3)
  await until('own', ({ size, error }) => size === 4 && error === null)
  expect(errors).toEqual(['Error: dead'])
})

test('a witness that is away for a day holds up nobody, and catches up by itself once it is back', async () => {
  const [here, away] = [await witness('here'), await witness('away')]
  // Only the clock is ours; timers run as they do.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
  onTestFinished(() => {
    vi.useRealTimers()
  })
  const told: { level: string; reason?: string; message: string }[] = []
  const tell = (level: string) => (fields: object, message: string) => told.push({ level, ...fields, message })
  const policy = parsePolicy(
    sha256,
    [here.line, away.line, 'group one any here away', 'quorum one', `log ${registry.vkey}`].join('\n'),
  )
  const anchors = new Anchors({
    pool: database.store.pool('notary'),
    session: () => database.store.dedicated('notary'),
    log: { info: tell('info'), warn: tell('warn'), error: tell('error') },
    policy,
    places: [],
    outbound: new Outbound(),
    interval_ms: 20,
  })
  onTestFinished(() => anchors.stop())
  await registry.append()
  anchors.start()
  await until('away', ({ size }) => size === 1)
  await away.leave()
  for (let hour = 1; hour <= 24; hour++) {
    await registry.append(60)
    vi.setSystemTime(Date.now() + 3_600_000)
    await until('here', ({ size }) => size === registry.size)
    // Whatever it waited for before the next try is over: five minutes at most.
    await until('away', ({ failures }) => failures >= hour)
  }
  expect(await until('away', () => true)).toMatchObject({ size: 1, isWrong: false, wrongAnswers: 0 })
  const { rows } = await database.superuser.query('select from affidavit.registry_notes where quorum_at is null')
  expect(rows).toEqual([])
  // Told when it began and now and then, not with every try, and never as an alarm.
  const outages = told.filter(({ message }) => message === 'an anchor cannot be reached')
  expect(outages.length).toBeGreaterThan(0)
  expect(outages.length).toBeLessThan(5)
  expect(told.filter(({ level }) => level === 'error')).toEqual([])

  await away.comeBack()
  vi.setSystemTime(Date.now() + 6 * 60_000)
  expect(await until('away', ({ size }) => size === registry.size)).toMatchObject({ error: null, failures: 0 })
  expect(told.at(-1)).toMatchObject({ level: 'info', message: 'the anchor answers again' })
  await registry.append()
  await until('away', ({ size }) => size === registry.size)
})
