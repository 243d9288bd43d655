// Builds the two verifiers that anybody can take along: one JavaScript file for Node ≥ 20 (cli/src/verify/file/single-file.ts)
// and one HTML page. Neither has a dependency or asks anything of a network.
//   npm run build:verifier
//   node web/verify/build.ts --if-stale     before a start: builds what is missing or older than its sources, if it can
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const root = new URL('../../', import.meta.url)
/** The server serves what is here, from a checkout and as a package. */
const target = new URL('server/dist/verifier/', root)
const pageName = 'index.html'
const programName = 'affidavit-verify.mjs'

const ifStale = process.argv.includes('--if-stale')

if (!ifStale || (await isStale())) {
  const bundler = await import('rolldown').catch((error: unknown) => {
    if (!ifStale) throw error
    console.error('notice: GET /verify has no page, because rolldown is not installed to build it')
    return undefined
  })
  if (bundler !== undefined) await build(bundler.rolldown)
}

type Rolldown = typeof import('rolldown').rolldown

async function build(rolldown: Rolldown): Promise<void> {
  await mkdir(target, { recursive: true })
  await put(programName, await program(rolldown))
  await put(pageName, await page(rolldown))
}

async function isStale(): Promise<boolean> {
  const built = await Promise.all([programName, pageName].map((name) => changed(new URL(name, target))))
  const sources = await Promise.all(['trail/src/', 'cli/src/', 'web/verify/src/'].map((folder) => newest(folder)))
  return Math.min(...built) < Math.max(...sources)
}

/** When a file was changed; 0 for one that is not there. */
async function changed(file: URL): Promise<number> {
  return stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  )
}

async function newest(folder: string): Promise<number> {
  const from = new URL(folder, root)
  const names = await readdir(from, { recursive: true })
  return Math.max(...(await Promise.all(names.map((name) => changed(new URL(name, from))))))
}

async function program(rolldown: Rolldown): Promise<string> {
  const code = await bundle(rolldown, 'cli/src/verify/file/single-file-main.ts', {
    platform: 'node',
    format: 'esm',
    minify: false,
  })
  return `#!/usr/bin/env node\n// affidavit-verify: checks evidence packs offline. Apache-2.0. Built from the sources of Affidavit.\n${code}`
}

async function page(rolldown: Rolldown): Promise<string> {
  const [template, style, worker, script] = await Promise.all([
    readFile(new URL('src/page.html', import.meta.url), 'utf8'),
    readFile(new URL('src/page.css', import.meta.url), 'utf8'),
    bundle(rolldown, 'web/verify/src/worker.ts', { platform: 'browser', format: 'iife', minify: true }).then(inline),
    bundle(rolldown, 'web/verify/src/page.ts', { platform: 'browser', format: 'iife', minify: true }).then(inline),
  ])
  const sha = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  const policy = [
    "default-src 'none'",
    // The worker runs what this page hands it as a blob, under the policy of this page.
    `script-src ${sha(script)} blob:`,
    'worker-src blob:',
    `style-src ${sha(style)}`,
    'img-src data:',
    "connect-src 'none'",
    "form-action 'none'",
    "base-uri 'none'",
  ].join('; ')
  const parts: readonly (readonly [place: string, filled: string])[] = [
    ['content="POLICY"', `content="${policy}"`],
    ['<style></style>', `<style>${style}</style>`],
    ['id="worker"></script>', `id="worker">${worker}</script>`],
    ['id="page"></script>', `id="page">${script}</script>`],
  ]
  return parts.reduce((html, [place, filled]) => {
    if (html.split(place).length !== 2) throw new Error(`the page has not one place ${place}`)
    return html.replace(place, () => filled)
  }, template)
}

/** Code as it may stand in HTML: a script ends at the first `</script`, and HTML does not keep control characters. */
function inline(code: string): string {
  return code
    .replaceAll('</script', '<\\/script')
    .replaceAll('<!--', '<\\!--')
    .replace(/[^\n\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

interface How {
  readonly platform: 'node' | 'browser'
  readonly format: 'esm' | 'iife'
  readonly minify: boolean
}

async function bundle(rolldown: Rolldown, entry: string, { platform, format, minify }: How): Promise<string> {
  const build = await rolldown({
    input: fileURLToPath(new URL(entry, root)),
    platform,
    // In a checkout the package's own entry names the sources.
    resolve: { alias: { '@affidavit/trail': fileURLToPath(new URL('trail/src/index.ts', root)) } },
    treeshake: { moduleSideEffects: platform === 'node' },
  })
  const { output } = await build.generate({ format, minify, codeSplitting: false })
  await build.close()
  if (output.length !== 1) throw new Error(`${entry} did not become one file`)
  return output[0].code
}

/** A server that is serving the file sees the old one or the new one. */
async function put(name: string, text: string): Promise<void> {
  const path = new URL(name, target)
  const temporary = new URL(`${name}.${process.pid}`, target)
  await writeFile(temporary, text)
  await rename(temporary, path)
  console.log(`${fileURLToPath(path)}: ${text.length.toLocaleString('en')} bytes`)
}
