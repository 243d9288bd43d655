// Copies of a key folder that a key management service wraps, put back beside a newer state of it.
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatRoot } from '../src/keys/kms-files.ts'
import { restoreKeys } from '../src/recovery/key-copies.ts'

let folder: string
const identity = 'ab'.repeat(32)
const keys = () => join(folder, 'keys')
const copy = () => join(folder, 'copies', '20260310T000000Z')
const root = (key: string, check: string) => formatRoot({ log: 'audit.example.com', check, key, blob: 'AAAA' })

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'affidavit-copies-'))
  for (const place of [keys(), copy()]) {
    await mkdir(place, { recursive: true })
    await writeFile(join(place, 'recovery.pub'), `${identity}\n`)
  }
  await writeFile(join(keys(), 'root.kms'), root('arn:new', '01'.repeat(8)))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const restored = () => restoreKeys(join(folder, 'copies'), identity, keys())

test('a copy from before does not bring the root key back into the clear', async () => {
  await writeFile(join(copy(), 'root.key'), `${'00'.repeat(32)}\n`)
  await writeFile(join(copy(), 'log.key'), 'wrapped')
  expect(await restored()).toEqual({ copy: '20260310T000000Z', files: 1 })
  expect(existsSync(join(keys(), 'root.key'))).toBe(false)
})

test('the same root under an older key of the service is the same root, another one is refused', async () => {
  await writeFile(join(copy(), 'root.kms'), root('arn:old', '01'.repeat(8)))
  expect(await restored()).toEqual({ copy: '20260310T000000Z', files: 0 })
  expect(await readFile(join(keys(), 'root.kms'), 'utf8')).toContain('arn:new')
  await writeFile(join(copy(), 'root.kms'), root('arn:old', '02'.repeat(8)))
  await expect(restored()).rejects.toThrow(/root\.kms is another key than that of the copy/)
})
