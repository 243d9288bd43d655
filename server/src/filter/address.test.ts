import { describe, expect, it } from 'vitest'
import { canonicalAddress } from './address.ts'

describe('canonicalAddress', () => {
  it.each([
    ['203.0.113.5', '203.0.113.5'],
    [' 203.0.113.5 ', '203.0.113.5'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['::ffff:203.0.113.5', '203.0.113.5'],
    ['::FFFF:cb00:7105', '203.0.113.5'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::', '::'],
    ['203.0.113', undefined],
    ['203.0.113.05', undefined],
    ['example.com', undefined],
    ['', undefined],
  ])('%s', (text, canonical) => expect(canonicalAddress(text)).toBe(canonical))
})
