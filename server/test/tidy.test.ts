import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  drawers,
  environmentReaders,
  importCycles,
  importsOf,
  partOf,
  readSources,
  type Source,
  strayPaths,
  tooLong,
  wrongImports,
} from './tidy.ts'

const sources = readSources(join(import.meta.dirname, '..', '..'))
const source = (path: string, text: string): Source => ({ path, text })

test('the files are found', () => {
  const paths = sources.map(({ path }) => path)
  expect(paths).toContain('server/src/store/database.ts')
  expect(paths).toContain('cli/bin/affidavit.mjs')
  expect(paths.length).toBeGreaterThan(50)
  expect(new Set(paths).size).toBe(paths.length)
})

test('imports go downward', () => {
  expect(wrongImports(sources)).toEqual([])
})

test.each([
  ['a stage imports another', 'server/src/seal/lane.ts', "import { tile } from '../notarize/tile.ts'"],
  ['over several lines', 'server/src/seal/lane.ts', "import {\n  a,\n  b,\n} from '../notarize/tile.ts'"],
  ['a type counts', 'server/src/seal/lane.ts', "import type { Tile } from '../notarize/tile.ts'"],
  ['an export from counts', 'server/src/seal/lane.ts', "export * from '../notarize/tile.ts'"],
  ['a dynamic import counts', 'server/src/seal/lane.ts', "const x = await import('../notarize/tile.ts')"],
  ['the store imports a stage', 'server/src/store/a.ts', "import '../seal/lane.ts'"],
  ['the ground imports its neighbour', 'server/src/keys/a.ts', "import { b } from '../catalog/b.ts'"],
  ['a stage imports the door', 'server/src/query/a.ts', "import { b } from '../http/b.ts'"],
  ['a stage imports the configuration', 'server/src/query/a.ts', "import { b } from '../config.ts'"],
  ['the log imports the server by name', 'trail/src/a.ts', "import { b } from '@affidavit/server/store/b.ts'"],
  ['the log uses a dependency', 'trail/src/a.ts', "import { b } from 'pino'"],
  ['the log uses Node', 'trail/src/a.ts', "import { b } from 'node:crypto'"],
  ['the SDK uses a dependency', 'sdk/src/a.ts', "import { b } from 'pino'"],
  ['the command line reaches into the server', 'cli/src/a.ts', "import { b } from '@affidavit/server/seal/b.ts'"],
  ['what ships imports a test', 'server/src/store/a.ts', "import { b } from '../../test/database.ts'"],
])('the import rule sees: %s', (_what, path, text) => {
  expect(wrongImports([source(path, text)])).toHaveLength(1)
})

test('the import rule passes what is right', () => {
  const right = [
    source(
      'server/src/seal/lane.ts',
      "import { a } from '../store/a.ts'\nimport { b } from './b.ts'\nimport pg from 'pg'",
    ),
    source('server/src/http/a.ts', "import { a } from '../seal/a.ts'\nimport { b } from '@affidavit/trail'"),
    source('server/src/detect/a.ts', "import { a } from '@affidavit/sigma'"),
    source('server/src/main.ts', "import { a } from './config.ts'\nimport { b } from './http/b.ts'"),
    source('server/src/seal/a.ts', "// import { a } from '../notarize/a.ts'\n * import { a } from '../notarize/a.ts'"),
    source(
      'server/src/seal/a.test.ts',
      "import { a } from '../../test/database.ts'\nimport { b } from '../notarize/b.ts'",
    ),
    source('sdk/src/a.ts', "import { a } from 'node:fs'\nimport { b } from '@affidavit/trail'"),
  ]
  expect(wrongImports(right)).toEqual([])
})

test('parts are named after their folders', () => {
  expect(
    ['server/src/seal/lane.ts', 'server/src/main.ts', 'trail/src/tree/tree.ts', 'cli/bin/a.mjs'].map(partOf),
  ).toEqual(['seal', 'main', 'trail', 'cli'])
  expect(importsOf(source('a.ts', "const from = 'x'\nimport a from 'b'"))).toEqual(['b'])
})

test('no files import each other in a circle', () => {
  expect(importCycles(sources)).toEqual([])
})

test('the circle rule sees a circle', () => {
  const circle = [
    source('trail/src/a.ts', "import { b } from './b.ts'"),
    source('trail/src/b.ts', "import { c } from './c.ts'"),
    source('trail/src/c.ts', "import type { a } from './a.ts'"),
    source('trail/src/d.ts', "import { a } from './a.ts'"),
  ]
  expect(importCycles(circle)).toEqual(['trail/src/a.ts → trail/src/b.ts → trail/src/c.ts → trail/src/a.ts'])
})

test('no folder or file is a drawer', () => {
  expect(drawers(sources)).toEqual([])
  const bad = ['server/src/utils/a.ts', 'sdk/src/types.ts', 'trail/src/helper.test.ts', 'server/src/seal/manager.ts']
  expect(drawers(bad.map((path) => source(path, '')))).toEqual(bad)
  expect(drawers([source('server/src/catalog/words.ts', ''), source('cli/src/library-card.ts', '')])).toEqual([])
})

test('no file is too long', () => {
  expect(tooLong(sources)).toEqual([])
  expect(tooLong([source('sdk/src/a.ts', 'x\n'.repeat(401)), source('sdk/src/b.ts', 'x\n'.repeat(400))])).toHaveLength(
    1,
  )
  expect(tooLong([source('sdk/src/a.test.ts', 'x\n'.repeat(601))])).toHaveLength(1)
})

test('only config.ts reads the environment', () => {
  expect(environmentReaders(sources)).toEqual([])
  const bad = [
    'const port = process.env.PORT',
    "const port = process.env['PORT']",
    'const { env } = process',
    "import { env } from 'node:process'",
    "import process, { argv, env } from 'node:process'",
    "const all = process['env']",
  ]
  for (const text of bad) expect(environmentReaders([source('server/src/seal/a.ts', text)])).toHaveLength(1)
  const right = [
    source('server/src/config.ts', 'process.env.PORT'),
    source('server/src/seal/a.test.ts', 'process.env.PORT'),
    source('cli/bin/a.mjs', 'process.env.PORT'),
    source('server/src/seal/a.ts', "spawn('x', { env: { PATH: '/bin' } })\n// process.env is not read"),
  ]
  expect(environmentReaders(right)).toEqual([])
})

test('tests find the vectors and samples beside the checkout, wherever they lie themselves', () => {
  expect(strayPaths(sources)).toEqual([])
  const right = source('trail/src/tree/a.test.ts', `join(import.meta.dirname, '${'../'.repeat(4)}shared/vectors')`)
  expect(strayPaths([right])).toEqual([])
  expect(strayPaths([{ ...right, path: 'trail/src/tree/deeper/a.test.ts' }])).toHaveLength(1)
  expect(strayPaths([{ ...right, path: 'trail/src/a.test.ts' }])).toHaveLength(1)
})
