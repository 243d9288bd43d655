// `affidavit backup` and `restore` with a real server (in this process: what is killed are backups and restores) and its
// embedded PostgreSQL; the real verifier judges.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listBackups } from '../../server/src/recovery/repository.ts'
import { runnable } from '../../server/test/packed.ts'
import { ServerHere } from '../../server/test/server-here.ts'
import { temporaryFolder } from '../../server/test/server-process.ts'
import { affidavit, verified } from './command-line.ts'

const { NODE_COMPILE_CACHE } = process.env
const long = process.env.AFFIDAVIT_LONG === '1'
const backupSteps = ['connected', 'begun', 'in the middle', 'copied', 'ended', 'log copied', 'named'] as const
const restoreSteps = ['in the middle', 'copied', 'replaying', 'replayed', 'set aside'] as const

let root: string
let server: ServerHere
const backups = () => join(root, 'backups')
const settings = () => ({ AFFIDAVIT_WAL_ARCHIVE: join(root, 'archive') })
const environment = () => ({
  PATH: process.env.PATH!,
  AFFIDAVIT_DATA_DIR: server.folder,
  ...settings(),
})

beforeAll(async () => {
  root = await temporaryFolder()
  await mkdir(join(root, 'data'))
  server = await ServerHere.start({ folder: join(root, 'data'), settings: settings() })
})
afterAll(async () => {
  await server?.remove()
  if (root) await rm(root, { recursive: true, force: true, maxRetries: 5 })
})

/** A command that is expected to be carried out. */
async function done(...args: string[]): Promise<string> {
  const { code, out, err } = await affidavit(args, environment())
  if (code !== 0) throw new Error(`${args.join(' ')}: exit code ${code}\n${out}${err}`)
  return out
}

async function record(ids: readonly string[]): Promise<void> {
  const events = ids.map((id) => ({ id, tenant: 'acme', action: 'a.b', actor: { type: 'user', id: 'u', name: 'Ann' } }))
  const response = await fetch(`${server.url}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ events }),
  })
  expect(await response.json()).toMatchObject({ rejected: 0 })
}

async function recorded(): Promise<string[]> {
  const response = await fetch(`${server.url}/v1/events?tenant=acme&order=asc&limit=1000`, {
    headers: { authorization: `Bearer ${server.operatorKey}` },
  })
  const { data } = (await response.json()) as { data: { id?: string }[] }
  return data.flatMap(({ id }) => id ?? [])
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}${n}`)

/** The verifier's verdict on the whole trail, payloads included. */
async function judged(): Promise<string> {
  const told = await verified([server.url, '--tenant', 'acme'], { AFFIDAVIT_KEY: server.operatorKey })
  return told.findings.length === 0 ? told.outcome : JSON.stringify(told.findings)
}

async function notarized(): Promise<void> {
  await expect
    .poll(
      async () => {
        const trail = await fetch(`${server.url}/v1/trails/acme`, {
          headers: { authorization: `Bearer ${server.operatorKey}` },
        })
        return ((await trail.json()) as { size: number }).size
      },
      { timeout: 60_000 },
    )
    .toBe((await recorded()).length + 1)
}

async function killedAt(what: 'backup' | 'restore', step: string): Promise<void> {
  const entry = runnable('server/test/safekeeping-process-entry.ts')
  const child = spawn(process.execPath, [entry, what, backups(), step], {
    env: { ...environment(), NODE_COMPILE_CACHE },
    stdio: 'inherit',
  })
  const [, signal] = await once(child, 'exit')
  expect([step, signal]).toEqual([step, 'SIGKILL'])
}

test('what was sealed before a backup is there after its restore, and the log brings back any later time', async () => {
  await record(names('before', 300))
  await done('backup', backups(), '--keys', join(root, 'keys'))
  await record(names('between', 200))
  await sleep(50)
  const between = new Date()
  await sleep(50)
  await record(names('after', 100))

  const refused = await affidavit(['restore', backups(), '--replace'], environment())
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('in use by another server') })
  await server.stop()
  expect(await affidavit(['restore', backups()], environment())).toMatchObject({
    code: 2,
    err: expect.stringContaining('--replace'),
  })

  // To the time between: the log is replayed up to it.
  await done('restore', backups(), '--to', between.toISOString(), '--replace')
  await server.start()
  expect((await recorded()).sort()).toEqual([...names('before', 300), ...names('between', 200)].sort())
  await notarized()
  expect(await judged()).toBe('held')
  // It goes on from there, on a timeline of its own, into the same archive.
  await record(names('again', 50))
  await server.stop()

  // All of the log that there is.
  // The key folder is gone, too, and comes back from its copy.
  await rm(join(server.folder, 'keys'), { recursive: true })
  const restoring = ['restore', backups(), '--to', 'backup', '--replace', '--keys', join(root, 'keys')]
  expect(await done(...restoring)).toMatch(/Put back \d+ key files of the copy/)
  await server.start()
  expect(await recorded()).toHaveLength(300)
  await notarized()
  expect(await judged()).toBe('held')
})

test('a backup that was killed at any step is taken up by the next', async () => {
  for (const step of long ? backupSteps : (['in the middle', 'log copied'] as const)) {
    await killedAt('backup', step)
    expect(await readdir(backups())).toEqual(
      expect.arrayContaining(step === 'named' ? [expect.stringMatching(/Z$/)] : ['unfinished']),
    )
  }
  await sleep(1_100) // names have whole seconds
  await done('backup', backups(), '--keep', '1')
  expect(await listBackups(backups())).toHaveLength(1)
  expect(await done('backup', backups(), '--verify')).toContain('whole')
  await record(names('late', 10))
  await server.stop()
  for (const step of long ? restoreSteps : (['replaying', 'set aside'] as const)) await killedAt('restore', step)
  await done('restore', backups(), '--replace')
  await server.start()
  expect((await recorded()).length).toBeGreaterThanOrEqual(300)
  await notarized()
  expect(await judged()).toBe('held')
}, 180_000)

test('a damaged backup is named by its files, and not restored', async () => {
  const [backup] = await listBackups(backups())
  const victim = backup!.files.find(({ path }) => path === 'data/PG_VERSION')!
  const file = join(backups(), backup!.id, victim.path)
  const good = await readFile(file)
  await writeFile(file, '17\n')
  expect(await affidavit(['backup', backups(), '--verify'], {})).toMatchObject({
    code: 1,
    out: expect.stringContaining('data/PG_VERSION: has another content'),
  })
  await server.stop()
  expect(await affidavit(['restore', backups(), '--replace'], environment())).toMatchObject({
    code: 2,
    err: expect.stringContaining('the backup is damaged'),
  })
  await writeFile(file, good)
  await server.start()
  expect(await judged()).toBe('held')
})

test('keys do not lie with the backups unless asked for; a database of another kind is refused with a sentence', async () => {
  const beside = await affidavit(['backup', backups(), '--keys', join(backups(), 'keys')], environment())
  expect(beside).toMatchObject({ code: 2, err: expect.stringContaining('whoever gets both can read every person') })
  const external = await affidavit(['backup', backups()], { DATABASE_URL: 'postgres://somewhere/else' })
  expect(external).toMatchObject({ code: 2, err: expect.stringContaining('pg_basebackup') })
  const early = await affidavit(['restore', backups(), '--to', '2020-01-01T00:00:00Z', '--replace'], environment())
  expect(early).toMatchObject({ code: 2, err: expect.stringContaining('nothing before that can be restored') })
})
