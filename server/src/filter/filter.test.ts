import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { everything, type Filter, type Page } from './filter.ts'
import { maxValues, parseFilter } from './parameters.ts'
import { wordUnits } from './words.ts'

function parsed(query: Record<string, unknown>, operator = false): { filter: Filter; page: Page } {
  const result = parseFilter(query, operator)
  if (!result.ok) throw new Error(JSON.stringify(result.problems))
  return result
}

function refused(query: Record<string, unknown>, operator = false): string[] {
  const result = parseFilter(query, operator)
  return result.ok
    ? []
    : result.problems.map(({ code, parameter }) => (code === 'invalid_parameter' ? parameter : `${parameter} ${code}`))
}

const many = Array.from({ length: maxValues + 1 }, (_, i) => `v${i}`)

describe('parseFilter', () => {
  it('asks nothing by default', () => {
    expect(parsed({})).toEqual({ ok: true, filter: everything, page: { order: 'desc', limit: 100, after: null } })
  })

  it('takes repeated values, and commas where no value can hold one', () => {
    const { filter } = parsed({
      actor: ['a,b', 'c'],
      action: 'user.*,doc.read',
      outcome: ['failure', 'denied,failure'],
      ip: '2001:DB8::0:1,203.0.113.5',
      'metadata.a.b': ['x', 'y'],
      q: ' Sarah  JOHNSON sarah ',
      from: '2026-03-10',
      to: '2026-03-10T18:33:14.1239+02:00',
      control: 'true',
    })
    expect(filter).toMatchObject({
      actor: ['a,b', 'c'],
      action: ['user.*', 'doc.read'],
      outcome: ['failure', 'denied'],
      ip: ['2001:db8::1', '203.0.113.5'],
      metadata: [['a.b', ['x', 'y']]],
      words: ['sarah', 'johnson'],
      from: Date.UTC(2026, 2, 10),
      to: Date.UTC(2026, 2, 10, 16, 33, 14, 123),
      control: true,
    })
    expect(parsed({ order: 'asc', limit: '1000', after: 'x' }).page).toEqual({ order: 'asc', limit: 1000, after: 'x' })
  })

  it('leaves session ids to the operator', () => {
    expect(refused({ session_id: 's' })).toEqual(['session_id missing_scope'])
    expect(parsed({ session_id: 's' }, true).filter.session_id).toEqual(['s'])
  })

  it.each<[Record<string, unknown>, string[]]>([
    [{ nonsense: 'x' }, ['nonsense']],
    [{ metadata: 'x' }, ['metadata']],
    [{ 'metadata.': 'x' }, ['metadata.']],
    [{ __proto__x: 'x', constructor: 'x', toString: 'x' }, ['__proto__x', 'constructor', 'toString']],
    [{ actor: '' }, ['actor']],
    [{ actor: ['a', ''] }, ['actor']],
    [{ actor: { a: 1 } }, ['actor']],
    [{ actor: 'a'.repeat(321) }, ['actor']],
    [{ actor: many }, ['actor']],
    [{ action: 'us*er' }, ['action']],
    [{ action: 'ü' }, ['action']],
    [{ action: 'a,,b' }, ['action']],
    [{ category: 'Billing' }, ['category']],
    [{ outcome: 'success,ok' }, ['outcome']],
    [{ ip: '203.0.113' }, ['ip']],
    [{ auth_method: 'password' }, ['auth_method']],
    [{ from: 'yesterday' }, ['from']],
    [{ from: '2026-02-30' }, ['from']],
    [{ from: '2026-03-10T25:00Z' }, ['from']],
    [{ from: '2026-03-10T18:33:14 02:00' }, ['from']],
    [{ from: ['2026-03-10', '2026-03-11'] }, ['from']],
    [{ from: '2026-03-10', to: '2026-03-10' }, ['to']],
    [{ q: '… —' }, ['q']],
    [{ q: 'a'.repeat(wordUnits + 1) }, ['q']],
    [{ q: many.join(' ') }, ['q']],
    [{ order: 'newest' }, ['order']],
    [{ limit: '0' }, ['limit']],
    [{ limit: '1001' }, ['limit']],
    [{ limit: '1e2' }, ['limit']],
    [{ control: 'yes' }, ['control']],
    [{ tenant: 'a b' }, ['tenant']],
    [{ from: 'x', limit: 'y', nonsense: 'z' }, ['from', 'limit', 'nonsense']],
    [Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`metadata.k${i}`, 'x'])), ['metadata']],
  ])('refuses %j', (query, parameters) => expect(refused(query).sort()).toEqual(parameters.sort()))

  it('never repeats a value in what it says', () => {
    const result = parseFilter({ from: 'sarah@example.com', limit: 'secret', outcome: 'sarah' }, false)
    expect(JSON.stringify(result)).not.toMatch(/sarah|secret/)
  })

  it('answers anything with a filter or with problems', () => {
    const names = fc.constantFrom('actor', 'action', 'from', 'to', 'q', 'ip', 'limit', 'order', 'metadata.x', 'x')
    fc.assert(
      fc.property(fc.dictionary(names, fc.anything()), fc.boolean(), (query, operator) => {
        const result = parseFilter(query, operator)
        expect(result.ok || result.problems.length > 0).toBe(true)
      }),
    )
  })
})
