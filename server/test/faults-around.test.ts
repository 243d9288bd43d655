// Faults around the server: a polite end under load, a full disk, a database that is not there, a first start cut off.
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { checkTrails, get, type Kept, listAll } from './check-trail.ts'
import { freshDatabase } from './database.ts'
import { Load } from './faults-load.ts'
import { PostgresProxy } from './faults-proxy.ts'
import { ServerProcess, startProcess, temporaryFolder } from './server-process.ts'

const long = process.env.AFFIDAVIT_LONG === '1'
const tenants = ['acme', 'globex']

const loadOn = (server: ServerProcess) =>
  new Load({ urls: [server.url], key: server.operatorKey, tenants, connections: 4, batch: 40 })

async function expectWhole(server: ServerProcess, load: Load): Promise<void> {
  expect(load.wrong).toEqual([])
  const service = { url: server.url, key: server.operatorKey }
  const kept = new Map<string, Kept>()
  expect(await checkTrails({ service, tenants, acknowledged: load.acknowledged, kept })).toEqual([])
}

/** A server whose first start is killed at any moment, and made good by the next. */
async function cutOff(): Promise<ServerProcess> {
  const server = new ServerProcess(await temporaryFolder(), {})
  onTestFinished(() => server.remove())
  server.launch()
  await sleep(randomInt(300, 2_500))
  await server.kill()
  await server.start()
  expect(server.operatorKey).toMatch(/^aff_live_/)
  expect(await listAll({ url: server.url, key: server.operatorKey }, '_operator')).toBeInstanceOf(Array)
  return server
}

test('SIGTERM under load: what was taken is sealed and answered, exit code 0, also after a first start that was cut off', async () => {
  if (long) for (let round = 0; round < 7; round++) await (await cutOff()).remove()
  const server = await cutOff()
  const load = loadOn(server)
  for (let round = 0; round < (long ? 4 : 1); round++) {
    const before = load.acknowledged.length
    load.start()
    while (load.acknowledged.length < before + 100) await sleep(5)
    await sleep(randomInt(100))
    const started = Date.now()
    const stopped = server.stop()
    await load.stop()
    expect(await stopped).toBe(0)
    expect(Date.now() - started).toBeLessThan(30_000)
    await server.start()
  }
  await load.settle()
  await expectWhole(server, load)
})

/** A file system of so many MiB, if this user may mount one. */
async function smallDisk(mib: number): Promise<string | undefined> {
  const folder = await temporaryFolder()
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m,mode=755`, 'tmpfs', folder], {
    encoding: 'utf8',
  })
  onTestFinished(async () => {
    if (mounted.status === 0) execFileSync('umount', ['-l', folder])
    await rm(folder, { recursive: true, force: true })
  })
  return mounted.status === 0 ? folder : undefined
}

/** Leaves next to nothing of the file system to whoever writes. PostgreSQL gives back WAL, so once is not enough. */
async function fill(folder: string): Promise<void> {
  const { blocks, bfree, bsize } = await statfs(folder)
  const spare = 2 ** 18
  // What is taken meanwhile is more than the new size: refused, and tried again by whoever finds the disk not full.
  if (bfree * bsize > spare) remount(folder, (blocks - bfree) * bsize + spare)
}

const remount = (folder: string, bytes: number) => spawnSync('mount', ['-o', `remount,size=${bytes}`, folder])

test('a full disk: refused loudly, nothing acknowledged is lost, and sealing goes on once there is room', async (context) => {
  const folder = await smallDisk(400)
  if (folder === undefined) {
    console.log('notice: no file system can be mounted here; the test of a full disk is skipped')
    return context.skip()
  }
  // Small WAL segments recycled early, so that data files meet the end of the disk as well as WAL does.
  await mkdir(join(folder, 'postgres'), { recursive: true })
  await writeFile(join(folder, 'postgres', 'custom.conf'), `max_wal_size = '64MB'\nmin_wal_size = '32MB'\n`, {
    mode: 0o644,
  })
  const server = await startProcess({ folder })
  onTestFinished(() => server.remove().catch(() => {}))
  const readiness = async () => {
    const response = await fetch(`${server.url}/readyz`)
    return { status: response.status, text: await response.text() }
  }
  const load = loadOn(server)
  load.start()
  while (load.acknowledged.length < 500) await sleep(5)
  await load.stop()
  // People are stored before the events that name them: those with much to store meet the end of the disk there, and that
  // shows in readiness as well as what the lanes meet. (Asked more than once, for a slow machine asks late.)
  const full = Date.now()
  for (let untold = 0; ; await sleep(20)) {
    if (Date.now() - full > 60_000) throw new Error(`the disk does not fill\n${server.log}`)
    await fill(folder)
    const answer = await recordStranger(server)
    if (!answer.includes('"status":503')) continue
    const { status, text } = await readiness()
    if (status === 503) break
    // PostgreSQL that went down, for want of room for WAL, may be back by now.
    if (answer.includes('storage is full') && ++untold === 5) throw new Error(`refused ${untold} times, yet: ${text}`)
  }
  load.start()
  for (let isReady = true; isReady || load.refused.length < 10; await sleep(50)) {
    if (Date.now() - full > 120_000) throw new Error(`events are not refused\n${server.log}`)
    await fill(folder)
    isReady = (await readiness()).status !== 503
  }
  const refused = load.refused.slice()
  for (const { text, retryAfter } of refused) {
    expect(JSON.parse(text)).toMatchObject({ status: 503, code: 'unavailable' })
    expect(Number(retryAfter)).toBeGreaterThan(0)
  }
  // Where WAL has no room, PostgreSQL itself goes down, and comes back by itself later.
  for (const { text } of refused) expect(text).toMatch(/storage is full|cannot be reached|was not stored|learn whether/)
  expect(refused.some(({ text }) => /storage is full|cannot be reached/.test(text))).toBe(true)
  const reading = await get({ url: server.url, key: server.operatorKey }, '/v1/events?tenant=acme&limit=5')
  expect([200, 503]).toContain(reading.status)
  remount(folder, 400 * 2 ** 20)
  const freed = Date.now()
  const answered = load.acknowledged.length
  while (load.acknowledged.length < answered + 100) {
    if (Date.now() - freed > 90_000) throw new Error(`nothing is sealed though there is room again\n${server.log}`)
    await sleep(20)
  }
  await load.stop()
  await load.settle()
  await server.ready()
  await expectWhole(server, load)
}, 180_000)

/** @returns the answer to an event of somebody of whom 32 KiB are personal that nothing makes smaller */
async function recordStranger({ url, operatorKey }: ServerProcess): Promise<string> {
  const texts = Array.from({ length: 8 }, () => randomBytes(3_000).toString('base64'))
  const response = await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${operatorKey}`,
      'content-type': 'application/json',
      'affidavit-personal': '/metadata/*',
    },
    body: JSON.stringify({
      tenant: 'strangers',
      action: 'user.login',
      actor: { type: 'user', id: `u_${randomInt(2 ** 40)}` },
      metadata: Object.fromEntries(texts.map((text, n) => [`text_${n}`, text])),
    }),
  })
  return response.text()
}

test('a database that is not there: the start says so at once; one that goes away: 503, not a hang', async () => {
  const database = await freshDatabase()
  const proxy = await PostgresProxy.open(database.login)
  const { port, user } = proxy.login
  const databaseUrl = `postgres://${user}@127.0.0.1:${port}/${database.login.database}`
  const server = new ServerProcess(await temporaryFolder(), { databaseUrl })
  onTestFinished(async () => {
    await server.remove()
    await proxy.close()
    await database.drop()
  })
  proxy.down()
  const started = Date.now()
  await expect(server.start()).rejects.toThrow(/database/i)
  expect(Date.now() - started).toBeLessThan(30_000)
  proxy.up()
  await server.start()
  const load = loadOn(server)
  load.start()
  while (load.acknowledged.length < 100) await sleep(5)
  proxy.down()
  const down = Date.now()
  await sleep(500)
  for (const path of ['/readyz', '/v1/events?tenant=acme', '/v1/trails/acme/checkpoint', '/v1/trails/acme/pack']) {
    const asked = Date.now()
    const response = await get({ url: server.url, key: server.operatorKey }, path)
    expect([path, response.status]).toEqual([path, 503])
    expect(Date.now() - asked).toBeLessThan(15_000)
  }
  expect((await get({ url: server.url, key: server.operatorKey }, '/healthz')).status).toBe(200)
  while (load.refused.length === 0 && Date.now() < down + 60_000) await sleep(20)
  proxy.up()
  const answered = load.acknowledged.length
  while (load.acknowledged.length < answered + 100) {
    if (Date.now() - down > 60_000) throw new Error(`nothing is sealed any more\n${server.log}`)
    await sleep(10)
  }
  await load.stop()
  await load.settle()
  expect(load.refused.length).toBeGreaterThan(0)
  for (const { retryAfter } of load.refused) expect(Number(retryAfter)).toBeGreaterThan(0)
  expect(Math.max(...load.refused.map(({ ms }) => ms))).toBeLessThan(25_000)
  await expectWhole(server, load)
  // And a server whose database is away still ends when it is told to.
  proxy.down()
  const told = Date.now()
  expect(await server.stop()).toBe(0)
  expect(Date.now() - told).toBeLessThan(30_000)
})
