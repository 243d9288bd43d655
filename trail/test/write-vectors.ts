/** Run by hand after a deliberate change of the format: writes trail/vectors and the worked examples of docs/spec. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeRegistryExamples, makeRegistryVectors } from './registry-vectors.ts'
import { makeExamples, makePack, makeVectors } from './vectors.ts'

const vectors = join(import.meta.dirname, '../vectors')
const files = { ...(await makeVectors()), ...(await makeRegistryVectors()), 'pack.json': await makePack() }
for (const [name, value] of Object.entries(files)) {
  writeFileSync(join(vectors, name), `${JSON.stringify(value, null, 1)}\n`)
}
for (const [page, text] of Object.entries({ ...(await makeExamples()), ...(await makeRegistryExamples()) })) {
  const path = join(import.meta.dirname, `../../docs/spec/${page}.md`)
  const marker = `<!-- example: ${page} -->\n`
  const [before] = readFileSync(path, 'utf8').split(marker)
  writeFileSync(path, `${before}${marker}\n${text}`)
}
