import { expect, it } from 'vitest'
import { type Cover, coverPage } from './cover.ts'

const cover: Cover = {
  tenant: 'org_1',
  manifest: {
    trail: '0'.repeat(32),
    origin: `log.example/${'0'.repeat(32)}`,
    size: 12_345,
    ranges: [
      { from: 7, to: 8 },
      { from: 9000, to: 10_000 },
    ],
    withheld: ['operator'],
  },
  root: new Uint8Array(32),
  vkeys: ['log.example+1a2b3c4d+AbC='],
  chosen: 'all entries',
  sealed: { from: '2026-03-10T18:33:14.123Z', to: '2026-03-11T18:33:14.123Z' },
  registry: { epoch: 8, time: '2026-03-11T18:34:00.000Z', size: 12_000 },
  made: '2026-03-12T00:00:00.000Z',
}

it('says what is in the pack and how to check it', () => {
  for (const page of Object.values(coverPage(cover))) {
    for (const part of ['1,001 (7, 9,000 to 9,999)', '12,345', 'epoch 8', 'npx affidavit verify', 'operator', '+AbC='])
      expect(page).toContain(part)
  }
})

it('shows the root as verifiers do, and times as people read them', () => {
  for (const page of Object.values(coverPage(cover))) {
    expect(page).toContain('0'.repeat(64))
    expect(page).toContain('2026-03-10 18:33:14 UTC to 2026-03-11 18:33:14 UTC')
  }
})

it('lets no name become markup, leave its line, or steer a terminal', () => {
  const tenant = '<script>alert(1)</script>"\'&\u001b[2J\u202e'
  const { html, text } = coverPage({ ...cover, tenant, chosen: '</dd><img src=x onerror=alert(1)>' })
  expect(html).not.toMatch(/<script|<img/)
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;')
  expect(html).toContain("default-src 'none'")
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
  expect(text).not.toMatch(/[\u001b\u202e]/)
})
