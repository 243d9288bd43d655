// Two projects: `pure` needs nothing but Node, `database` shares one PostgreSQL that server/test/postgres.ts starts.
import { defineConfig } from 'vitest/config'

// AFFIDAVIT_LONG=1 is what `npm test -- --long` sets: more rounds, more cases, more patience.
const long = process.env.AFFIDAVIT_LONG === '1'
// A machine that does something else besides is slow, not wrong: nothing here is reached when all is well. What a test says
// about time it says itself.
const timeouts = {
  testTimeout: long ? 600_000 : 120_000,
  hookTimeout: 180_000,
  expect: { poll: { timeout: 60_000, interval: 50 } },
}

export default defineConfig({
  test: {
    // Two cores are the reference machine; more workers only make timing tests lie.
    maxWorkers: process.env.AFFIDAVIT_TEST_WORKERS ? Number(process.env.AFFIDAVIT_TEST_WORKERS) : 2,
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
