// Two projects: `pure` needs no database, `database` shares one PostgreSQL that server/test/postgres.ts starts.
import { spawnSync } from 'node:child_process'
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
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

// What is kept from one run to the next. Half of a start of the command line or of a server is compiling, and tests start
// hundreds; other people's programs take minutes to build.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'affidavit-test-compiled')
process.env.AFFIDAVIT_PACKED_CACHE ??= join(tmpdir(), `affidavit-test-packed-${userInfo().uid}`) // what root made others cannot use
process.env.AFFIDAVIT_GO_CACHE ??= join(tmpdir(), 'affidavit-go')
process.env.AFFIDAVIT_PYTHON_CACHE ??= join(tmpdir(), 'affidavit-python')

// Everything else lies in memory where there is room: fsync stays on everywhere and costs little, and SIGKILL does not empty
// memory.
if (isFit('/dev/shm')) process.env.TMPDIR = '/dev/shm'

/** Room enough, and programs may be run there. */
function isFit(folder: string): boolean {
  const probe = join(folder, `affidavit-probe-${process.pid}`)
  try {
    const { bavail, bsize } = statfsSync(folder)
    writeFileSync(probe, '#!/bin/sh\n', { mode: 0o755 })
    return bavail * bsize > 4 * 2 ** 30 && spawnSync(probe).status === 0
  } catch {
    return false
  } finally {
    rmSync(probe, { force: true })
  }
}

/** Of the SDK: what it does to a whole server. */
const withServer = ['sdk/test/server.test.ts', 'sdk/test/published.test.ts']

/** What takes longest, so that nothing long begins when the others are done. */
const slow = [
  ...['test/tamper.test', 'test/kms-server', 'test/recall', 'test/hostile.test', 'test/packs', 'test/pack-download'],
  ...['test/recovery', 'test/backup', 'test/faults', 'test/samples', 'test/schemathesis', 'test/docs', 'threats/'],
  ...['store/embedded', 'test/several-nodes', 'test/verify-deep', 'test/rollback', 'store/objects', 'test/page'],
  ...['test/published', 'test/log-key', 'test/verify-absence', 'test/forget', 'test/objects-in-bucket', 'test/scrub'],
]

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification) => {
      const at = slow.findIndex((part) => moduleId.includes(part))
      if (at >= 0) return at
      return project.name === 'pure' ? slow.length + 1 : slow.length // a worker is for one project
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

export default defineConfig({
  test: {
    // Two cores are the reference machine; further tests run while others wait for something.
    maxWorkers: process.env.AFFIDAVIT_TEST_WORKERS ? Number(process.env.AFFIDAVIT_TEST_WORKERS) : 4,
    // Files of one worker share the modules they import: the server is not read and compiled a hundred times. Modules here
    // have no state of their own, so there is nothing that one file could leave to another.
    isolate: false,
    // Node reads TypeScript itself, as it does everywhere else here.
    experimental: { viteModuleRunner: false, nodeLoader: false },
    // A worker holds all of the server and does not end: growing towards that in small steps costs a tenth of its time.
    execArgv: ['--initial-heap-size=256'],
    sequence: { sequencer: SlowestFirst },
    projects: [
      {
        test: {
          name: 'pure',
          include: ['{trail,sigma,sdk}/{src,test}/**/*.test.ts', 'web/*/{src,test}/**/*.test.ts'],
          exclude: withServer,
          ...timeouts,
        },
      },
      {
        test: {
          name: 'database',
          include: ['{server,cli,bench}/{src,test}/**/*.test.ts', 'bench/*.test.ts', ...withServer],
          globalSetup: ['server/test/postgres.ts', 'server/test/packed.ts'],
          setupFiles: ['server/test/packed-threads.ts'],
          ...timeouts,
        },
      },
    ],
  },
})
