import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hashTerm, termKey } from './hash.ts'
import { maxTerms, space, type TermSource, termsOf } from './terms.ts'

const key = termKey(Buffer.from('00112233445566aa', 'hex'))
const event = {
  id: 'evt_1',
  action: 'user.role.updated',
  category: 'authorization',
  outcome: 'denied',
  reason: 'Not permitted',
  actor: {
    type: 'user',
    id: 'u1',
    name: { $personal: 0 },
    team: 'finance',
    impersonator: { type: 'agent', name: 'Helper' },
  },
  targets: [
    { type: 'user', id: 'u2', name: { $personal: 1 } },
    { type: 'document', id: 'doc-9', name: 'Annual Report' },
  ],
  context: {
    request_id: 'req-1',
    trace_id: 'tr-1',
    auth_method: 'sso',
    ip: { $personal: 0 },
    api_key: { name: 'Nightly' },
  },
  metadata: { plan: 'Gold', seats: 12, trial: false, note: { $personal: 0 }, tags: ['x'], nothing: null },
}
const source: TermSource = {
  facts: event,
  sessionId: 'sess-1',
  actor: 7n,
  lines: [
    { subject: 7, persona: 70 },
    { subject: '8', persona: 80n },
    { subject: 9, persona: null },
  ],
}

/** All but the request's. */
function distinct([, ...terms]: readonly number[]): Set<number> {
  const all = new Set(terms)
  expect(all.size).toBe(terms.length)
  return all
}
const term = (in_: number, text: string) => hashTerm(key, in_, text)

describe('termsOf', () => {
  it('names everything that a filter may ask for, and nothing else', () => {
    const words = 'user role updated not permitted annual report helper nightly gold'
    const expected = [
      term(space.trace, 'tr-1'),
      term(space.session, 'sess-1'),
      term(space.team, 'finance'),
      term(space.category, 'authorization'),
      term(space.outcome, 'denied'),
      term(space.authMethod, 'sso'),
      term(space.persona, '70'),
      term(space.subject, '8'),
      term(space.persona, '80'),
      term(space.subject, '9'),
      term(space.target, 'u2'),
      term(space.target, 'doc-9'),
      term(space.metadata, 'plan=Gold'),
      term(space.metadata, 'seats=12'),
      term(space.metadata, 'trial=false'),
      ...words.split(' ').map((word) => term(space.word, word)),
    ]
    const made = termsOf(key, source)
    expect(distinct(made.terms)).toEqual(new Set(expected))
    expect(made.complete).toBe(true)
    expect(made.terms[0]).toBe(term(space.request, 'req-1'))
  })

  it('has no term for the usual outcome, and no request where there is none', () => {
    const made = termsOf(key, {
      facts: { action: 'a', outcome: 'success', targets: [{ type: 'x' }] },
      sessionId: null,
      actor: null,
      lines: [],
    })
    expect(distinct(made.terms)).toEqual(new Set([term(space.word, 'a')]))
    expect(made.terms[0]).toBe(0)
  })

  it('marks cut words by a term and cut ids by the flag', () => {
    const wordy = termsOf(key, {
      ...source,
      facts: { ...event, reason: Array.from({ length: 90 }, (_, i) => `w${i}`).join(' ') },
    })
    expect(wordy.complete).toBe(true)
    expect(distinct(wordy.terms)).toContain(term(space.wordsCut, ''))
    expect(wordy.terms.length).toBe(maxTerms)

    const crowded = termsOf(key, {
      ...source,
      facts: { ...event, targets: Array.from({ length: 64 }, (_, i) => ({ type: 't', id: `t${i}` })) },
    })
    expect(crowded.complete).toBe(false)
    expect(distinct(crowded.terms)).toContain(term(space.wordsCut, ''))
  })

  it('is the same for facts that went through the store, whatever they contain', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true }), (metadata) => {
        const facts = { action: 'x', metadata, targets: metadata.targets, actor: metadata.actor, context: metadata }
        const made = termsOf(key, { facts, sessionId: null, actor: null, lines: [] })
        const again = termsOf(key, {
          facts: JSON.parse(JSON.stringify(facts)),
          sessionId: null,
          actor: null,
          lines: [],
        })
        expect(again).toEqual(made)
      }),
    )
  })
})
