import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { apiPage, apiPagePath } from './http-reference.ts'

test('docs/reference/api.md is what the OpenAPI document says (server/test/http-reference.ts writes it)', async () => {
  expect(readFileSync(apiPagePath, 'utf8')).toBe(await apiPage())
})
