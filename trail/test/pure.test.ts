import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'

const SOURCE = join(import.meta.dirname, '../src')

it('imports only its own files and names nothing that a browser lacks', () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(?<!\.test)\.ts$/.test(name),
  )
  expect(files.length).toBeGreaterThan(20)
  for (const name of files) {
    const text = readFileSync(join(SOURCE, name), 'utf8')
    const imports = [...text.matchAll(/(?:from|import)\s*\(?'([^']+)'/g)].map((match) => match[1]!)
    expect(
      imports.filter((path) => !path.startsWith('.') || !join(SOURCE, dirname(name), path).startsWith(SOURCE)),
      name,
    ).toEqual([])
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    expect(code.match(/\b(?:Buffer|process|require|setImmediate|__dirname)\b/), name).toBeNull()
  }
})
