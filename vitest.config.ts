// Two projects: `pure` needs nothing but Node, `database` shares one PostgreSQL that server/test/postgres.ts starts.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// AFFIDAVIT_LONG=1 is what `npm test -- --long` sets: more rounds, more cases, more patience.
const long = process.env.AFFIDAVIT_LONG === '1'
// A machine that does something else besides is slow, not wrong: nothing here is reached when all is well. What a test says
// about time it says itself.
const timeouts = {
  testTimeout: long ? 600_000 : 300_000,
  hookTimeout: 180_000,
  expect: { poll: { timeout: 60_000, interval: 50 } },
}

// Half of a start of the command line or of a server is compiling, and tests start hundreds.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'affidavit-test-compiled')

/** What takes longest, so that nothing long begins when the others are done. */
const slow = [
  ...['test/hostile', 'test/faults', 'test/samples', 'test/schemathesis', 'test/recovery', 'test/docs', 'test/backup'],
  ...['test/several-nodes', 'threats/', 'test/tamper', 'test/fuzz', 'test/forget', 'store/embedded', 'test/page'],
]

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = slow.findIndex((part) => moduleId.includes(part))
      return at < 0 ? slow.length : at
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

export default defineConfig({
  test: {
    // Two cores are the reference machine; a third test runs while the others wait for something.
    maxWorkers: process.env.AFFIDAVIT_TEST_WORKERS ? Number(process.env.AFFIDAVIT_TEST_WORKERS) : 3,
    sequence: { sequencer: SlowestFirst },
    projects: [
      {
        test: {
          name: 'pure',
          include: ['{trail,sigma,sdk}/{src,test}/**/*.test.ts', 'web/*/{src,test}/**/*.test.ts'],
          ...timeouts,
        },
      },
      {
        test: {
          name: 'database',
          include: ['{server,cli,bench}/{src,test}/**/*.test.ts', 'bench/*.test.ts'],
          globalSetup: ['server/test/postgres.ts'],
          ...timeouts,
        },
      },
    ],
  },
})
