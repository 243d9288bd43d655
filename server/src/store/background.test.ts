import { getPriority } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Background, Task, TaskRefused } from './background.ts'
import { type Log, silent } from './log.ts'

/** Echoes what it is told with its settings, counts its starts by thread, and dies or logs when told to. */
const echo = new URL(
  `data:text/javascript,${encodeURIComponent(`
  import { readlinkSync } from 'node:fs'
  import { getPriority } from 'node:os'
  import { threadId } from 'node:worker_threads'
  export async function openTask(settings, { log, send }) {
    if (settings.refuse) throw new Error('there is no key')
    return {
      receive(message) {
        if (message === 'die') setImmediate(() => { throw new Error('dead') })
        else if (message === 'log') log.warn({ err: new TypeError('odd'), n: 1 }, 'told')
        else if (message === 'priority') send({ message: getPriority(Number(readlinkSync('/proc/thread-self').split('/').at(-1))) })
        else send({ threadId, settings, message })
      },
      async stop() { send({ threadId, settings, message: 'stopped' }) },
    }
  }`)}`,
)

interface Echo {
  threadId: number
  settings: unknown
  message: unknown
}

async function echoing(background: Background, settings: object, log: Log = silent) {
  const heard: Echo[] = []
  const ends: number[] = []
  const task = await Task.start<unknown, Echo>(
    background,
    {
      name: 'the echo',
      module: echo,
      settings,
      onMessage: (message) => heard.push(message),
      onEnd: () => ends.push(heard.length),
    },
    log,
  )
  return { task, heard, ends }
}

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 60_000; !condition() && Date.now() < deadline; ) await sleep(10)
  expect(condition()).toBe(true)
}

test('tasks share a thread, hear what they are told, and say a last word before they are gone', async () => {
  const background = new Background(silent)
  const [a, b] = [await echoing(background, { n: 'a' }), await echoing(background, { n: 'b' })]
  a.task.send('one')
  b.task.send('two')
  await until(() => a.heard.length === 1 && b.heard.length === 1)
  expect([a.heard[0]!.message, b.heard[0]!.message]).toEqual(['one', 'two'])
  expect(a.heard[0]!.threadId).toBe(b.heard[0]!.threadId)
  await a.task.stop()
  expect(a.heard.at(-1)!.message).toBe('stopped')
  expect(a.task.send('late')).toBe(false)
  b.task.send('still here')
  await until(() => b.heard.length === 2)
  await b.task.stop()
  expect(a.ends).toHaveLength(1)
})

test('what one task breaks, the others of its thread survive: all are begun again', async () => {
  const errors: string[] = []
  const log = { ...silent, error: (fields: object) => errors.push(String((fields as { err: Error }).err)) }
  const background = new Background(log)
  const [a, b] = [await echoing(background, {}, log), await echoing(background, {}, log)]
  a.task.send('die')
  await until(() => a.ends.length === 1 && b.ends.length === 1)
  await until(() => a.task.send('again') && b.task.send('again'))
  await until(() => a.heard.length > 0 && b.heard.length > 0)
  expect(errors).toContain('Error: dead')
  await Promise.all([a.task.stop(), b.task.stop()])
})

test('errors in a log keep name, message and stack', async () => {
  const lines: object[] = []
  const { task } = await echoing(new Background(silent), {}, { ...silent, warn: (fields) => lines.push(fields) })
  task.send('log')
  await until(() => lines.length === 1)
  expect(lines[0]).toMatchObject({ n: 1, err: { type: 'TypeError', message: 'odd' } })
  await task.stop()
})

test('a task that cannot run says why', async () => {
  const refused = echoing(new Background(silent), { refuse: true })
  await expect(refused).rejects.toThrow(new TaskRefused('there is no key'))
})

test.runIf(process.platform === 'linux')('a background thread gives way to requests', async () => {
  const own = getPriority()
  for (const niceness of [undefined, 0]) {
    const { task, heard } = await echoing(new Background(silent, niceness === undefined ? {} : { niceness }), {})
    task.send('priority')
    await until(() => heard.length === 1)
    expect(heard[0]!.message).toBe(Math.min(own + (niceness ?? 5), 19))
    await task.stop()
  }
  expect(getPriority()).toBe(own)
})
