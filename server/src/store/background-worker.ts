// The entry of a background thread: runs the tasks that background.ts sends.
import { readlinkSync } from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { Begin, FromTask, OpenTask, Running, ThreadSettings, ToTask } from './background.ts'
import { type Log, toldOf } from './log.ts'

if (parentPort === null) throw new Error('store/background-worker.ts is the entry of a worker thread')
const parent = parentPort
lowerPriority((workerData as ThreadSettings).niceness)

parent.on('message', (message: Begin | 'end') => {
  if (message === 'end') parent.close()
  else void begin(message)
})

/** Linux has a priority for each thread, by its id. Elsewhere, or where it may not be set, it stays as it is. */
function lowerPriority(niceness: number): void {
  if (niceness === 0 || process.platform !== 'linux') return
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    setPriority(thread, Math.min(getPriority(thread) + niceness, constants.priority.PRIORITY_LOW))
  } catch {
    // It only helps.
  }
}

async function begin({ module, settings, port }: Begin): Promise<void> {
  const send = (message: FromTask) => port.postMessage(message)
  try {
    const { openTask } = (await import(module)) as { openTask: OpenTask<unknown, unknown, unknown> }
    const task = await openTask(settings, { log: logTo(send), send: (message) => send({ type: 'message', message }) })
    port.on('message', (told: ToTask) => {
      if (told.type === 'message') task.receive(told.message)
      else void end(task, port)
    })
    send({ type: 'ready' })
  } catch (error) {
    send({ type: 'refused', message: (error as Error).message })
    port.close()
  }
}

/** A task that cannot be stopped cleanly ends the thread with it, loudly. */
async function end(task: Running<unknown>, port: MessagePort): Promise<void> {
  try {
    await task.stop()
  } finally {
    port.close()
  }
}

function logTo(send: (message: FromTask) => void): Log {
  const logger = (level: keyof Log) => (fields: object, message: string) =>
    send({ type: 'log', level, fields: plain(fields), message })
  return { info: logger('info'), warn: logger('warn'), error: logger('error') }
}

/** Errors lose on their way to the main thread what cannot be cloned, and what the log would not tell. */
function plain(fields: object): object {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, value instanceof Error ? toldOf(value) : value]),
  )
}
