import { expect, it } from 'vitest'
import { LOG, ORIGIN, SLOT, trailId } from '../../test/sample-trail.ts'
import { vkeyUnder } from '../note/note.ts'
import { sha256 } from '../web.ts'
import { pinsFor } from './pins.ts'

const pinned = (name: string) => vkeyUnder(sha256, LOG.key, name)

it.each([ORIGIN, 'log.example/registry', 'log.example/registry.2', `log.example/${trailId('before', SLOT)}`])(
  'a key that was pinned as %s counts for the trail, under its name',
  (name) => {
    expect(pinsFor(sha256, [pinned(name)], ORIGIN)).toEqual([LOG.key])
  },
)

it.each([
  'else.example/registry',
  'log.example',
  'example/registry',
  'registry',
  `log.example/${trailId('x', SLOT + 1)}`,
])('one that was pinned as %s does not', (name) => {
  expect(pinsFor(sha256, [pinned(name)], ORIGIN)).toEqual([])
})

it('names without a log name have nothing in common', () => {
  expect(pinsFor(sha256, [pinned('mine')], 'yours')).toEqual([])
  expect(pinsFor(sha256, [pinned('mine')], 'mine')).toEqual([pinned('mine')])
})

it('a pin of the slot outweighs that of another', () => {
  const other = pinned(`log.example/${trailId('x', SLOT + 1)}`)
  expect(pinsFor(sha256, [other, LOG.key], ORIGIN)).toEqual([LOG.key, LOG.key])
  expect(pinsFor(sha256, [other, pinned('log.example/registry')], ORIGIN)).toEqual([])
  expect(pinsFor(sha256, [other], 'log.example/registry')).toEqual([pinned('log.example/registry')])
})
