// The server that tests start, packed into a few files: half of a start is finding and reading a thousand modules, and a
// test run starts about a hundred servers, and two threads for each. The same sources and the same libraries; `import.meta`
// keeps saying where a source lies, so that migrations and the like are found. What is installed runs its sources directly,
// and so do the tests of the command line and of the documents.
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

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

/** In place of the folder until it is known. */
const somewhere = '/affidavit-packed'
const keep_ms = 86_400_000

/** Packs before the tests, into a folder named by what is in it: what Node compiles of it is still there the next time. */
export default async function setup(): Promise<void> {
  const { build } = await import('rolldown')
  const { output } = await build({
    cwd: root,
    input: Object.fromEntries(entries.map((path) => [path.replace(/\.ts$/, ''), join(root, path)])),
    platform: 'node',
    external: ['pg-native'],
    plugins: [{ name: 'places', transform: (code, id) => withPlaces(withThreads(code, id, somewhere), id) }],
    logLevel: 'silent',
    write: false,
    output: { format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[hash].mjs' },
  })
  const files = output.flatMap((file) => (file.type === 'chunk' ? [file] : []))
  const digest = createHash('sha256')
  for (const { fileName, code } of files) digest.update(`${fileName}\n${code.length}\n${code}`)
  const around = process.env.AFFIDAVIT_PACKED_CACHE!
  const folder = join(around, digest.digest('hex').slice(0, 16))
  await mkdir(around, { recursive: true })
  const fresh = await mkdtemp(join(around, 'new-'))
  for (const { fileName, code } of files) {
    await mkdir(dirname(join(fresh, fileName)), { recursive: true })
    await writeFile(join(fresh, fileName), code.replaceAll(pathToFileURL(somewhere).href, pathToFileURL(folder).href))
  }
  // Another run may have been quicker, or use it just now.
  await rename(fresh, folder).catch(() => rm(fresh, { recursive: true }))
  await utimes(folder, new Date(), new Date())
  for (const name of await readdir(around)) {
    const found = await stat(join(around, name)).catch(() => null) // another run's draft may have got its name meanwhile
    if (found !== null && found.mtimeMs < Date.now() - keep_ms)
      await rm(join(around, name), { recursive: true, force: true })
  }
  process.env.AFFIDAVIT_TEST_PACKED = folder
}

/** For servers in the test's own process: their threads are packed, too. To be called before a server's modules are read. */
export function packThreads(): void {
  const folder = process.env.AFFIDAVIT_TEST_PACKED
  if (folder === undefined) return
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context)
      if (!url.startsWith(serverUrl) || loaded.source == null) return loaded
      const code = loaded.source.toString()
      return { ...loaded, source: withThreads(code, fileURLToPath(url), folder) }
    },
  })
}

const serverUrl = pathToFileURL(join(root, 'server', 'src')).href

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
