// The server that tests start, packed into a few files: half of a start is finding and reading a thousand modules, and a
// test run starts about a hundred servers, and two threads for each. The same sources and the same libraries; `import.meta`
// keeps saying where a source lies, so that migrations and the like are found. What is installed runs its sources directly,
// and so do the tests of the command line and of the documents.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Plugin } from 'rolldown'

const root = join(import.meta.dirname, '..', '..')

/** What is started as a process or as a thread, by its path from the root. */
const entries = [
  'server/test/server-process-entry.ts',
  'server/test/hostile-server.ts',
  'server/test/safekeeping-process-entry.ts',
  'server/test/recovery-process-entry.ts',
  'server/test/rotation-kill-entry.ts',
  'server/test/registry-process-entry.ts',
  'server/test/notary-process-entry.ts',
  'cli/test/log-key-kill-entry.ts',
  'server/src/store/background-worker.ts',
  'server/src/notarize/worker.ts',
  'server/src/registry/worker.ts',
  'server/src/anchor/worker.ts',
  'server/src/scrub/worker.ts',
  'server/src/http/pack-worker.ts',
  'server/src/http/pack-check.ts',
] as const

/** @returns the file that Node is to run: packed, if this run's entries are */
export function runnable(entry: (typeof entries)[number]): string {
  const folder = process.env.AFFIDAVIT_TEST_PACKED
  return folder === undefined ? join(root, entry) : packedPath(folder, entry)
}

/** Packs before the tests. */
export default async function setup(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-packed-'))
  const { build } = await import('rolldown')
  await build({
    cwd: root,
    input: Object.fromEntries(entries.map((path) => [path.replace(/\.ts$/, ''), join(root, path)])),
    platform: 'node',
    external: ['pg-native'],
    plugins: [{ name: 'places', transform: (code, id) => withPlaces(withThreads(code, id, folder), id) }],
    logLevel: 'silent',
    output: { dir: folder, format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[hash].mjs' },
  })
  process.env.AFFIDAVIT_TEST_PACKED = folder
  return () => rm(folder, { recursive: true, force: true })
}

/** For servers in the test's own process: their threads are packed, too. */
export const packedThreads: Plugin = {
  name: 'packed threads',
  transform(code, id) {
    const folder = process.env.AFFIDAVIT_TEST_PACKED
    const changed = folder === undefined ? code : withThreads(code, id, folder)
    return changed === code ? null : { code: changed, map: null } // no line moves
  },
}

const packedPath = (folder: string, entry: string) => join(folder, entry.replace(/\.ts$/, '.mjs'))

const isOurs = (id: string) => id.startsWith(join(root, 'server', 'src')) || id.startsWith(join(root, 'trail', 'src'))

function withThreads(code: string, id: string, folder: string): string {
  if (!isOurs(id)) return code
  return code.replaceAll(/new URL\('(\.\/[a-z-]+\.ts)', import\.meta\.url\)/g, (_, name: string) => {
    const path = relative(root, join(dirname(id), name))
    if (!entries.some((entry) => entry === path)) throw new Error(`${path} is not packed`)
    return `new URL(${JSON.stringify(pathToFileURL(packedPath(folder, path)).href)})`
  })
}

function withPlaces(code: string, id: string): string {
  if (!isOurs(id)) return code
  return code
    .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href))
    .replaceAll('import.meta.dirname', JSON.stringify(dirname(id)))
}
