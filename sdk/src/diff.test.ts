import { expect, test } from 'vitest'
import { diff } from './diff.ts'

test('changed, added and removed members become JSON Pointers', () => {
  const before = { role: 'viewer', name: 'Ann', address: { city: 'Bonn', 'a/b~c': 1 }, gone: null }
  const after = { role: 'editor', name: 'Ann', address: { city: 'Köln', 'a/b~c': 2 }, extra: [1] }
  expect(diff(before, after)).toEqual([
    { path: '/role', before: 'viewer', after: 'editor' },
    { path: '/address/city', before: 'Bonn', after: 'Köln' },
    { path: '/address/a~1b~0c', before: 1, after: 2 },
    { path: '/gone', before: null },
    { path: '/extra', after: [1] },
  ])
})

test('equal values are no change, whatever their member order, dates or undefined', () => {
  const at = new Date('2026-01-01T00:00:00Z')
  expect(diff({ a: [{ x: 1, y: 2 }], at, u: undefined }, { at: at.toISOString(), a: [{ y: 2, x: 1 }] })).toEqual([])
})

test('a list is one value', () => {
  expect(diff({ roles: ['a', 'b'] }, { roles: ['b'] })).toEqual([{ path: '/roles', before: ['a', 'b'], after: ['b'] }])
})

test('a whole value can change, appear and vanish', () => {
  expect(diff(1, 2)).toEqual([{ path: '', before: 1, after: 2 }])
  expect(diff(undefined, { a: 1 })).toEqual([{ path: '', after: { a: 1 } }])
  expect(diff({ a: { b: 1 } }, { a: 'text' })).toEqual([{ path: '/a', before: { b: 1 }, after: 'text' }])
})

test('member names of the prototype are ordinary names', () => {
  const before = JSON.parse('{"__proto__":{"admin":false},"constructor":1}')
  const after = JSON.parse('{"__proto__":{"admin":true},"toString":2}')
  expect(diff(before, after)).toEqual([
    { path: '/__proto__/admin', before: false, after: true },
    { path: '/constructor', before: 1 },
    { path: '/toString', after: 2 },
  ])
})
