// One line of the log, wherever it comes from.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Background, Task } from '../store/background.ts'
import { openLog } from './log.ts'

/** Logs the same error as the test does; its source is part of the stack. */
const failing = new URL(
  `data:text/javascript,${encodeURIComponent(`
  export async function openTask(_settings, { log }) {
    const error = new Error('no', { cause: new TypeError('odd') })
    log.warn({ err: Object.assign(error, { code: '23502', detail: 'Sar' + 'ah', cannotBeCloned() {} }), n: 1 }, 'told')
    return { receive() {}, async stop() {} }
  }`)}`,
)

test('of an error it tells the same, whether it was met here or in a background thread', async () => {
  const lines: string[] = []
  const log = openLog('info', { write: (line) => lines.push(line) })
  const error = new Error('no', { cause: new TypeError('odd') })
  log.warn({ err: Object.assign(error, { code: '23502', detail: 'Sarah' }), n: 1 }, 'told')
  const task = await Task.start(new Background(log), { name: 'failing', module: failing, settings: {} }, log)
  while (lines.length < 2) await sleep(5)
  await task.stop()
  for (const line of lines) {
    expect(JSON.parse(line)).toMatchObject({
      msg: 'told',
      n: 1,
      err: { type: 'Error', message: 'no', code: '23502', cause: { type: 'TypeError', message: 'odd' } },
    })
    expect(line).not.toContain('Sarah')
  }
})

test('what is thrown and is no error is told as it is', () => {
  const lines: string[] = []
  openLog('info', { write: (line) => lines.push(line) }).error({ err: 'word' }, 'told')
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 50, err: { message: 'word' } })
})
