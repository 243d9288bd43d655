// docs/spec/served.md names every answer of the HTTP API that is no JSON, and every folder of Objects: none is without a page
// that fixes its bytes.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { documented } from './http-reference.ts'

const root = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(root, 'docs', 'spec', 'served.md'), 'utf8')

/** Address and media type of each row of the page's first table. */
const listed = [...page.matchAll(/^\| `((?:GET|POST) [^`]+)`[^|]*\| `([a-z-]+\/[a-z.-]+)` \|/gm)].map(
  ([, address, type]) => `${address} ${type}`,
)

test('every answer that is no JSON is on the page, and nothing else', async () => {
  const served = Object.entries(await documented()).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses }]) =>
      Object.keys(responses['200']?.content ?? {})
        .filter((type) => type !== 'application/json')
        .map((type) => `${method.toUpperCase()} ${path} ${type}`),
    ),
  )
  expect(served.length).toBeGreaterThan(10)
  expect(listed.toSorted()).toEqual(served.toSorted())
})

test('members that hold bytes are members of answers', async () => {
  const [, table = ''] = page.split('## Values in JSON answers')
  const members = [...table.matchAll(/^\| (`[^|]+) \|/gm)].flatMap(([, names]) =>
    [...names!.matchAll(/`(\w+)`/g)].map(([, name]) => name!),
  )
  const all = JSON.stringify(await documented()) + readFileSync(join(root, 'server/src/http/schemas.ts'), 'utf8')
  expect(members.length).toBeGreaterThan(10)
  expect(members.filter((name) => !new RegExp(`\\b${name}\\b`).test(all))).toEqual([])
})

test('every folder of Objects is on the page', () => {
  const folders = sources(join(root, 'server', 'src')).flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/`([a-z]+)\/\$\{/g)]
      .map(([, folder]) => folder!)
      .filter((folder) => !notObjects.has(folder)),
  )
  expect(folders).toContain('epochs')
  expect(folders).toContain('keyrings')
  expect([...new Set(folders)].filter((folder) => !page.includes(`\`${folder}/…\``))).toEqual([])
})

/** Other paths that are written the same way: in a tlog, in a pack, in a backup. */
const notObjects = new Set(['tile', 'anchors', 'data'])

const sources = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => join(folder, name))
