import { expect, test } from 'vitest'
import { counted } from './run.ts'

const file = (status: string, ...assertions: string[]) => ({
  status,
  assertionResults: assertions.map((each) => ({ status: each })),
})
const report = {
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 2,
  numTodoTests: 0,
  testResults: [file('passed', 'passed')],
}

test('the last line counts what vitest counted', () => {
  expect(counted(report, true)).toEqual({ passed: 3, failed: 0, skipped: 2 })
  expect(
    counted({ ...report, numFailedTests: 2, testResults: [file('failed', 'failed', 'failed')] }, false).failed,
  ).toBe(2)
})

test('a file that does not load and an error outside of tests are failures', () => {
  expect(counted({ ...report, testResults: [file('failed')] }, false).failed).toBe(1)
  expect(counted(report, false).failed).toBe(1)
})
