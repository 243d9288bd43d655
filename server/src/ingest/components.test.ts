import { expect, test } from 'vitest'
import { schemaComponents } from './components.ts'
import { problems } from './problem.ts'

test('every reference of the published schemas leads to one of them, and none carries an id of its own', () => {
  const components = schemaComponents()
  const text = JSON.stringify(components)
  const references = [...text.matchAll(/"\$ref":"([^"]*)"/g)].map((match) => match[1])
  expect(references.length).toBeGreaterThan(2)
  for (const reference of references) {
    expect(Object.keys(components)).toContain(reference?.replace('#/components/schemas/', ''))
  }
  expect(text).not.toContain('"$id"')
  expect(text).not.toContain('"$defs"')
})

test('the published actor is recursive and closed', () => {
  expect(schemaComponents().EventActor).toMatchObject({
    additionalProperties: false,
    properties: {
      on_behalf_of: { $ref: '#/components/schemas/EventActor' },
      type: { enum: expect.arrayContaining(['user']) as unknown },
    },
  })
})

test('every problem has a status of an error and advice in a sentence', () => {
  for (const [code, { status, title, advice }] of Object.entries(problems)) {
    expect(code).toMatch(/^[a-z]+(?:_[a-z0-9]+)*$/)
    expect(status, code).toBeGreaterThanOrEqual(400)
    expect(title, code).toMatch(/^[A-Z].*[^.]$/)
    expect(advice, code).toMatch(/^[A-Z].*\.$/)
  }
})
