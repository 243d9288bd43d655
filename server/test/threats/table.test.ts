// Every row of docs/concepts/threats.md has its test, and every test its row.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readTable } from './table.ts'

/** First arguments of `attacked` in the files beside this one. */
function tested(): string[] {
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'))
  return files.flatMap((name) => {
    const text = readFileSync(join(import.meta.dirname, name), 'utf8')
    return [...text.matchAll(/^attacked\(\s*'([^']+)'/gm)].map(([, row]) => row!)
  })
}

test('rows and tests are the same', () => {
  const rows = readTable().map(({ name }) => name)
  expect(new Set(rows).size).toBe(rows.length)
  expect(tested().sort()).toEqual(rows.sort())
})
