import { describe, expect, it } from 'vitest'
import { searchedUnits, wordsOf, wordUnits } from './words.ts'

describe('wordsOf', () => {
  it.each([
    ['user.role-updated_2', ['user', 'role', 'updated', '2']],
    ['Invalid  Invalid password!', ['invalid', 'password']],
    ['Zoë Müller', ['zoë', 'müller']],
    ['Zoe\u0308', ['zoë']],
    ['ＡＢＣ ﬁn', ['abc', 'fin']],
    ['北京 naïve', ['北京', 'naïve']],
    ['', []],
    ['… —', []],
  ])('%s', (text, words) => expect(wordsOf(text)).toEqual(words))

  it('takes no word beyond its limits', () => {
    expect(wordsOf(`${'a'.repeat(wordUnits)} ${'b'.repeat(wordUnits + 1)} ${'ü'.repeat(wordUnits + 1)} c`)).toEqual([
      'a'.repeat(wordUnits),
      'c',
    ])
    expect(wordsOf(`${' '.repeat(searchedUnits)}far`)).toEqual([])
  })
})
