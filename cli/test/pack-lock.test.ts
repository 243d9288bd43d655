// The lock of a pack that is being downloaded: held by one process, and left to nobody by those that are gone.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lockFile } from '../src/pack/lock.ts'

let folder: string
const at = (name: string) => join(folder, name)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-lock-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const holder = (pid: number, more: object = {}) => `${JSON.stringify({ pid, host: hostname(), start: '', ...more })}\n`

test('one at a time; another file is another lock; given back it is free', async () => {
  const release = await lockFile(at('a.zip'))
  await expect(lockFile(at('a.zip'))).rejects.toThrow(
    `Process ${process.pid} is writing ${at('a.zip')}. Wait for it, or give -o another name.`,
  )
  const other = await lockFile(at('b.zip'))
  await release()
  await (await lockFile(at('a.zip')))()
  await other()
  expect(await readdir(folder)).toEqual([])
})

test.each([
  ['of a process that is gone', () => holder(spawnSync(process.execPath, ['-e', '']).pid)],
  ['of an earlier process that had our number', () => holder(process.pid)],
  ['of an earlier process with the number of a present one', () => holder(process.ppid, { start: '1' })],
  ['that a crash left empty', () => ''],
  ['with nonsense', () => '{"pid":"one"}'],
])('a lock %s is taken over', async (_, text) => {
  await writeFile(at('left.zip.lock'), text())
  const release = await lockFile(at('left.zip'))
  expect(JSON.parse(await readFile(at('left.zip.lock'), 'utf8'))).toMatchObject({ pid: process.pid })
  await release()
  expect(await readdir(folder)).toEqual([])
})

test('a lock of a process that is there, or of another host, is not', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => 0, 1000); console.log(1)'])
  await once(child.stdout, 'data')
  await writeFile(at('busy.zip.lock'), holder(child.pid!))
  await expect(lockFile(at('busy.zip'))).rejects.toThrow(`Process ${child.pid} is writing`)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await (await lockFile(at('busy.zip')))()
  await writeFile(at('far.zip.lock'), holder(1, { host: 'elsewhere.example' }))
  await expect(lockFile(at('far.zip'))).rejects.toThrow('Process 1 on elsewhere.example is writing')
  await rm(at('far.zip.lock'))
})

test('of many that find a lock left behind one gets it, in this process', async () => {
  await writeFile(at('left.zip.lock'), holder(spawnSync(process.execPath, ['-e', '']).pid))
  const all = await Promise.allSettled(Array.from({ length: 8 }, () => lockFile(at('left.zip'))))
  const got = all.filter((one) => one.status === 'fulfilled')
  expect(got).toHaveLength(1)
  await got[0]!.value()
  expect(await readdir(folder)).toEqual([])
})

/** Takes the lock of each file that a line names, says whether it has it, and gives it back at an empty line. */
const contender = `
  import { createInterface } from 'node:readline'
  import { lockFile } from ${JSON.stringify(new URL('../src/pack/lock.ts', import.meta.url).href)}
  let release
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === '') { await release?.(); release = undefined }
    else release = await lockFile(line).catch(() => undefined)
    console.log(release === undefined ? 'no' : 'yes')
  }`

test('of many processes that find a lock left behind one gets it, every time', async () => {
  const gone = holder(spawnSync(process.execPath, ['-e', '']).pid)
  const children = Array.from({ length: 4 }, () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', contender], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const ask = async (line: string) => {
      child.stdin.write(`${line}\n`)
      return (await answers.next()).value as string | undefined
    }
    return { child, ask }
  })
  await Promise.all(children.map(({ ask }) => ask('')))
  for (let round = 0; round < 20; round++) {
    await writeFile(at(`${round}.zip.lock`), gone)
    const told = await Promise.all(children.map(({ ask }) => ask(at(`${round}.zip`))))
    expect(told.toSorted()).toEqual(['no', 'no', 'no', 'yes'])
    await Promise.all(children.map(({ ask }) => ask('')))
  }
  for (const { child } of children) child.stdin.end()
  expect(await readdir(folder)).toEqual([])
})

test('one that was killed while it judged a lock keeps nobody waiting for long', async () => {
  await writeFile(at('left.zip.lock'), holder(spawnSync(process.execPath, ['-e', '']).pid))
  await mkdir(at('left.zip.lock.judged'))
  await utimes(at('left.zip.lock.judged'), new Date(), new Date(Date.now() - 11_000))
  await (await lockFile(at('left.zip')))()
  expect(await readdir(folder)).toEqual([])
})
