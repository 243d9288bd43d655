import { describe, expect, it } from 'vitest'
import { personalWords, searchTexts } from './people.ts'

describe('searchTexts', () => {
  it('are the whole values and their words, user agents excepted', () => {
    const texts = searchTexts([
      ['/actor/email', 'Sarah.J@Example.com'],
      ['/actor/name', 'Sarah Johnson'],
      ['/context/ip', '2001:DB8:0:0:0:0:0:1'],
      ['/context/user_agent', 'Mozilla/5.0'],
      ['/metadata/n', { of: [7, null] }],
    ])
    expect(new Set(texts)).toEqual(
      new Set(['sarah.j@example.com', 'sarah', 'j', 'example', 'com', 'sarah johnson', 'johnson', '2001:db8::1', '7']),
    )
    expect(personalWords([['/actor/name', 'Zoë  de Vries']])).toEqual(['zoë', 'de', 'vries'])
  })
})
