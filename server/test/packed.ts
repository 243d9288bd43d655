// The server that tests start as a process (server-process.ts), packed into a few files: half of a start is finding and
// reading a thousand modules, and a test run starts about a hundred servers. The same sources and the same libraries;
// `import.meta` keeps saying where a source lies, so that migrations and the like are found. What is installed runs its
// sources directly, and so do the tests of the command line and of the documents.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, type Plugin } from 'rolldown'

const root = join(import.meta.dirname, '..', '..')

/** What becomes a thread of its own, by its path from the root. */
const threads = [
  'server/src/store/background-worker.ts',
  'server/src/notarize/worker.ts',
  'server/src/registry/worker.ts',
  'server/src/anchor/worker.ts',
  'server/src/scrub/worker.ts',
  'server/src/http/pack-worker.ts',
  'server/src/http/pack-check.ts',
]

/** Before the tests: names the packed server to server-process.ts. */
export default async function setup(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-packed-'))
  process.env.AFFIDAVIT_TEST_SERVER = await pack(folder)
  return () => rm(folder, { recursive: true, force: true })
}

/** @returns the path of what Node is to run */
async function pack(folder: string): Promise<string> {
  const packed = (path: string) => join(folder, path.replace(/\.ts$/, '.js'))
  const places: Plugin = {
    name: 'places',
    transform(code, id) {
      if (!id.startsWith(root) || id.includes('node_modules') || !code.includes('import.meta.')) return null
      const thread = (_: string, name: string) => {
        const path = relative(root, join(dirname(id), name))
        if (!threads.includes(path)) throw new Error(`${path} is no thread that is packed`)
        return `new URL(${JSON.stringify(pathToFileURL(packed(path)).href)})`
      }
      return code
        .replaceAll(/new URL\('(\.\/[a-z-]+\.ts)', import\.meta\.url\)/g, thread)
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(id)))
    },
  }
  const entry = 'server/test/server-process-entry.ts'
  await build({
    cwd: root,
    input: Object.fromEntries([entry, ...threads].map((path) => [path.replace(/\.ts$/, ''), join(root, path)])),
    platform: 'node',
    external: ['pg-native'],
    plugins: [places],
    logLevel: 'silent',
    output: { dir: folder, format: 'esm', entryFileNames: '[name].js' },
  })
  return packed(entry)
}
