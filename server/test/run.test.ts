import { join } from 'node:path'
import { expect, test } from 'vitest'
import { counted } from './run.ts'

const root = join(import.meta.dirname, '..', '..')
const file = (status: string, ...assertions: string[]) => ({
  name: join(root, 'server', `${status}.test.ts`),
  status,
  message: 'does not load\nat once',
  assertionResults: assertions.map((each, at) => ({
    status: each,
    fullName: `test ${at}`,
    failureMessages: each === 'failed' ? [`broke ${at}\nhere\nthere\nand there`] : [],
  })),
})
const report = {
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 2,
  numTodoTests: 0,
  testResults: [file('passed', 'passed')],
}

test('the last line counts what vitest counted', () => {
  expect(counted(report, true)).toEqual({ passed: 3, failed: 0, skipped: 2, files: [], failures: [], left: [] })
  const two = counted({ ...report, testResults: [file('failed', 'failed', 'passed', 'failed')] }, false)
  expect(two.failed).toBe(2)
  expect(two.files).toEqual(['server/failed.test.ts'])
  expect(two.failures).toEqual([
    'server/failed.test.ts > test 0: broke 0 | here | there',
    'server/failed.test.ts > test 2: broke 2 | here | there',
  ])
})

test('files of which tests did not run are named', () => {
  const some = [file('passed', 'passed', 'skipped', 'pending'), file('failed', 'failed', 'todo')]
  expect(counted({ ...report, testResults: some }, true).left).toEqual([
    'server/passed.test.ts (2)',
    'server/failed.test.ts (1)',
  ])
})

test('a file that does not load and an error outside of tests are failures', () => {
  expect(counted({ ...report, testResults: [file('failed')] }, false).failures).toEqual([
    'server/failed.test.ts: does not load | at once',
  ])
  expect(counted(report, false).failures).toEqual(['an error outside of all tests'])
})
