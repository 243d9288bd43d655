// Two projects: `pure` needs nothing but Node, `database` shares one PostgreSQL that server/test/postgres.ts starts.
import { defineConfig } from 'vitest/config'

// AFFIDAVIT_LONG=1 is what `npm test -- --long` sets: more rounds, more cases, more patience.
const long = process.env.AFFIDAVIT_LONG === '1'
const timeouts = { testTimeout: long ? 600_000 : 30_000, hookTimeout: 60_000 }

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
