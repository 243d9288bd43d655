// `npm run build` in trail/ and sdk/: makes dist/, the package as npm gets it (`npm publish ./dist`). Inside the
// workspace TypeScript runs as it is written; users have Node 20 and compilers of their own, so they get JavaScript with
// declarations, and a package.json that leads there. Plain JavaScript, because Node 20 has to run it, too.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import process from 'node:process'

const root = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname)
const folder = process.cwd()
const dist = process.argv[2] ?? join(folder, 'dist')
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')

rmSync(dist, { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [tsc, '-p', join(folder, 'tsconfig.build.json'), '--outDir', dist], {
  stdio: 'inherit',
})
if (status !== 0) process.exit(status ?? 2)

// tsc leaves the names of sources in declarations, which compilers of users would have to guess from.
for (const name of readdirSync(dist, { recursive: true }).filter((file) => file.endsWith('.d.ts'))) {
  const path = join(dist, name)
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll(/((?:from|import\() ?'\.[^']*)\.ts'/g, "$1.js'"))
}

const { scripts: _, ...described } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
const published = {
  ...described,
  types: './index.d.ts',
  exports: { '.': { types: './index.d.ts', default: './index.js' } },
}
writeFileSync(join(dist, 'package.json'), `${JSON.stringify(published, null, 2)}\n`)
for (const [from, name] of [
  [folder, 'README.md'],
  [root, 'LICENSE'],
])
  if (existsSync(join(from, name))) copyFileSync(join(from, name), join(dist, name))
