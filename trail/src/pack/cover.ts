/**
 * The cover page of a pack: says to somebody who has never heard of Affidavit what this file is, what is in it, and how
 * to check it in one command. Written by whoever made the pack, so it proves nothing, and says so.
 */
import { toHex } from '../bytes.ts'
import type { Manifest } from './manifest.ts'

export const COVER_MEMBERS = { html: 'cover/README.html', text: 'cover/README.txt' } as const

export interface Cover {
  /** Whose trail it is, as its owner is called. */
  readonly tenant: string
  readonly manifest: Pick<Manifest, 'trail' | 'origin' | 'size' | 'ranges' | 'withheld'>
  /** Root of the checkpoint; shown in hex, as verifiers show it. */
  readonly root: Uint8Array
  readonly vkeys: readonly string[]
  /** How the entries were chosen: "all entries", "events found by action=user.*" … */
  readonly chosen: string
  /** When the first and the last of the entries were sealed, where known. */
  readonly sealed?: { readonly from: string; readonly to: string }
  /** The registry epoch that the pack brings, and the size at which it holds the trail. */
  readonly registry?: { readonly epoch: number; readonly time: string; readonly size: number }
  /** When the pack was made. */
  readonly made: string
}

interface Section {
  readonly title: string
  readonly rows?: readonly (readonly [label: string, value: string])[]
  readonly paragraphs?: readonly string[]
  readonly commands?: readonly string[]
}

/** The page as HTML, all in one file without a script, and as plain text. */
export function coverPage(cover: Cover): { readonly html: string; readonly text: string } {
  const sections = sectionsOf(cover)
  return { html: html(cover, sections), text: text(cover, sections) }
}

function sectionsOf(cover: Cover): Section[] {
  const { manifest, registry, sealed } = cover
  return [
    {
      title: 'What this is',
      paragraphs: [
        `This file is an evidence pack: a part of the audit log of ${cover.tenant}, with everything that is needed to ` +
          'check offline that nothing in it was changed, removed, reordered or inserted after it was sealed.',
        'Whoever made the pack also wrote this page. It proves nothing. The check does.',
      ],
    },
    {
      title: 'What is in it',
      rows: [
        ['Log of', cover.tenant],
        ['Trail', manifest.origin],
        ['Chosen', cover.chosen],
        ['Entries with content', contentOf(manifest)],
        ...(sealed === undefined ? [] : [['Sealed', `${shown(sealed.from)} to ${shown(sealed.to)}`] as const]),
        ['Length of the trail', `${group(manifest.size)} entries under its checkpoint`],
        ['Root of the checkpoint', toHex(cover.root)],
        ['Left out on purpose', manifest.withheld.length === 0 ? 'nothing' : manifest.withheld.join(', ')],
        [
          'Registry',
          registry === undefined
            ? 'not included'
            : `epoch ${registry.epoch} of ${shown(registry.time)}, which holds the first ${group(registry.size)} entries`,
        ],
        ['Made', shown(cover.made)],
      ],
    },
    {
      title: 'Check it',
      paragraphs: ['With Node.js 20 or newer, without a network and without an account:'],
      commands: ['npx affidavit verify PACK.zip', 'node affidavit-verify.mjs PACK.zip'],
    },
    {
      title: 'Or without a command line',
      paragraphs: [
        'Open the page /verify of the server that you trust, or your saved copy of it, and drop this file on it. The ' +
          'page computes in your browser; nothing is uploaded.',
      ],
    },
    {
      title: 'What to expect',
      paragraphs: [
        'HELD means: every entry is the one that was sealed, at its place, and every gap was announced. ' +
          'TAMPERED names the first entry that is wrong. NOT CHECKED means that the file is damaged or newer than the ' +
          'program: fetch it again.',
        'Without anything from outside the answer is "tamper-detecting only": whoever holds the signing key could have ' +
          'written everything anew. Bring the key from your contract (--vkey), a checkpoint you kept (--checkpoint), ' +
          'or the witnesses you trust (--policy). Compare the key below with the one in your contract; do not take it ' +
          'from here.',
      ],
      rows: cover.vkeys.map((vkey) => ['Verifier key', vkey] as const),
    },
    {
      title: 'The format',
      paragraphs: [
        'An ordinary ZIP file. Unpacked it is a static log as C2SP tlog-tiles describes it, with the contents in ' +
          'content/ as lines of JSON. Anybody can write another program that checks it: the specification is public.',
      ],
    },
  ]
}

const MOST_RANGES = 5

function contentOf({ ranges }: Pick<Manifest, 'ranges'>): string {
  const count = ranges.reduce((sum, { from, to }) => sum + to - from, 0)
  const shown = ranges
    .slice(0, MOST_RANGES)
    .map(({ from, to }) => (to - from === 1 ? group(from) : `${group(from)} to ${group(to - 1)}`))
  return `${group(count)} (${shown.join(', ')}${ranges.length > MOST_RANGES ? ' …' : ''})`
}

/** 2026-03-10T18:33:14.123Z → 2026-03-10 18:33:14 UTC. */
function shown(time: string): string {
  return time.replace(/^(\S{10})T(\S{8})\.\d{3}Z$/, '$1 $2 UTC')
}

function group(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',')
}

function text({ tenant }: Cover, sections: readonly Section[]): string {
  const lines = [`Evidence pack of ${tenant}`, '']
  for (const { title, rows = [], paragraphs = [], commands = [] } of sections) {
    lines.push(title.toUpperCase(), '')
    for (const paragraph of paragraphs) lines.push(...wrapped(paragraph), '')
    for (const command of commands) lines.push(`    ${command}`)
    if (commands.length > 0) lines.push('')
    for (const [label, value] of rows) lines.push(`  ${label}: ${value}`)
    if (rows.length > 0) lines.push('')
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a name must not steer the terminal it is printed on
  return `${lines.join('\n').replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '?')}`
}

function wrapped(paragraph: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of paragraph.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > 92) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

function html({ tenant }: Cover, sections: readonly Section[]): string {
  const body = sections.map(({ title, rows = [], paragraphs = [], commands = [] }) =>
    [
      `<section><h2>${escaped(title)}</h2>`,
      ...paragraphs.map((paragraph) => `<p>${escaped(paragraph)}</p>`),
      ...(commands.length > 0 ? [`<pre>${commands.map(escaped).join('\n')}</pre>`] : []),
      ...(rows.length > 0
        ? [`<dl>${rows.map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`).join('')}</dl>`]
        : []),
      '</section>',
    ].join('\n'),
  )
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evidence pack of ${escaped(tenant)}</title>
<style>
body { font: 16px/1.55 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1.25rem; color: CanvasText; background: Canvas }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 2rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem } p { margin: .5rem 0 }
pre { padding: .75rem 1rem; border: 1px solid color-mix(in srgb, CanvasText 20%, Canvas); border-radius: .4rem; overflow-x: auto }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .3rem 1.25rem; margin: .75rem 0 }
dt { color: color-mix(in srgb, CanvasText 65%, Canvas) } dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem } }
@media print { body { margin: 0; max-width: none } section { break-inside: avoid } pre { white-space: pre-wrap } }
</style>
<main>
<h1>Evidence pack of ${escaped(tenant)}</h1>
${body.join('\n')}
</main>
</html>
`
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escaped(value: string): string {
  return value.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}
