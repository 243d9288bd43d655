/** The page: takes a file, shows progress, and says what was found. Builds every element itself: nothing is ever markup. */
import { VERDICTS } from '@affidavit/trail'
import type { Message, Request, Subject } from './message.ts'
import { concluded, VERDICT_WORDS } from './words.ts'

const byId = <T extends HTMLElement>(id: string) => document.getElementById(id) as T

const drop = byId<HTMLElement>('drop')
const input = byId<HTMLInputElement>('file')
const status = byId<HTMLElement>('status')
const progress = byId<HTMLProgressElement>('progress')
const progressText = byId<HTMLElement>('progress-text')
const result = byId<HTMLElement>('result')
const again = byId<HTMLButtonElement>('again')
const cancel = byId<HTMLButtonElement>('cancel')

const workerCode = byId<HTMLScriptElement>('worker').textContent
const workerUrl = URL.createObjectURL(new Blob([workerCode], { type: 'text/javascript' }))
let worker: Worker | undefined
let last: File | undefined

const marks = { held: '✓', failed: '✗', unchecked: '–', limited: '✓', open: '–' } as const
const stateWords = { held: 'held', failed: 'failed', unchecked: 'not checked' } as const

input.addEventListener('change', () => {
  const [file] = input.files ?? []
  if (file !== undefined) void start(file)
  input.value = ''
})
for (const event of ['dragenter', 'dragover'] as const)
  document.addEventListener(event, (dragged) => {
    dragged.preventDefault()
    drop.classList.add('over')
  })
document.addEventListener('dragleave', (dragged) => {
  if (dragged.relatedTarget === null) drop.classList.remove('over')
})
document.addEventListener('drop', (dropped) => {
  dropped.preventDefault()
  drop.classList.remove('over')
  const [file] = dropped.dataTransfer?.files ?? []
  if (file !== undefined) void start(file)
})
again.addEventListener('click', () => {
  if (last !== undefined) void start(last)
})
cancel.addEventListener('click', () => {
  stop()
  show('drop')
})
for (const name of ['checkpoint', 'policy', 'authorities'])
  byId<HTMLInputElement>(`${name}-file`).addEventListener('change', async ({ target }) => {
    const [file] = (target as HTMLInputElement).files ?? []
    if (file !== undefined) byId<HTMLTextAreaElement>(name).value = await file.slice(0, 2 ** 20).text()
  })

async function start(file: File): Promise<void> {
  stop()
  last = file
  show('working')
  status.textContent = `Checking ${file.name}`
  tellProgress(0, 0)
  worker = new Worker(workerUrl)
  worker.addEventListener('message', ({ data }: MessageEvent<Message>) => receive(data, file))
  worker.addEventListener('error', (event) =>
    receive({ kind: 'refused', about: 'browser', message: event.message || 'The check was cut off.' }, file),
  )
  const text = (id: string) => byId<HTMLTextAreaElement>(id).value
  const request: Request = {
    file,
    vkeys: text('vkeys'),
    checkpoint: text('checkpoint'),
    policy: text('policy'),
    authorities: text('authorities'),
  }
  worker.postMessage(request)
}

function stop(): void {
  worker?.terminate()
  worker = undefined
}

function show(state: 'drop' | 'working' | 'done'): void {
  document.body.dataset.state = state
}

function receive(message: Message, file: File): void {
  if (message.kind === 'progress') {
    tellProgress(message.done, message.of)
    return
  }
  stop()
  const nodes =
    message.kind === 'refused' ? refusal(message) : report(message.verification, message.subject, message.ms, file)
  result.replaceChildren(...nodes)
  show('done')
  status.textContent = ''
  byId('verdict').focus()
}

function tellProgress(done: number, of: number): void {
  if (of > 0) {
    progress.max = of
    progress.value = done
  } else progress.removeAttribute('value')
  progressText.textContent =
    of > 0 ? `${done.toLocaleString('en')} of about ${of.toLocaleString('en')} entries` : 'Opening …'
}

type Child = Node | string

function element(
  name: string,
  attributes: Readonly<Record<string, string>>,
  ...children: readonly Child[]
): HTMLElement {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children.map((child) => (typeof child === 'string' ? printable(child) : child)))
  return made
}

/** A name in a hostile pack must not turn the text around it. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd')
}

function banner(tone: string, mark: string, title: string, text: string, ...more: readonly Node[]): HTMLElement {
  return element(
    'section',
    { class: `banner ${tone}`, 'aria-labelledby': 'verdict' },
    element('span', { class: 'mark', 'aria-hidden': 'true' }, mark),
    element('div', {}, element('h2', { id: 'verdict', tabindex: '-1' }, title), element('p', {}, text), ...more),
  )
}

/** Leads to where a key, a checkpoint or witnesses are filled in: below the whole report. */
function bringButton(): HTMLElement {
  const button = element('button', { type: 'button', class: 'plain', id: 'bring' }, 'Bring something from outside')
  button.addEventListener('click', () => {
    byId<HTMLDetailsElement>('outside').open = true
    byId('vkeys').focus()
  })
  return element('div', { class: 'row' }, button)
}

function refusal({ about, message }: Extract<Message, { kind: 'refused' }>): Node[] {
  const title = {
    file: 'This file could not be checked',
    brought: 'What you brought cannot be read',
    browser: 'This browser cannot check the file',
  }
  const advice = {
    file: ' That says nothing about the log. Fetch the file again from where it came, and compare.',
    brought: '',
    browser: '',
  }
  const sentence = `${sentenceCase(message)}${message.endsWith('.') ? '' : '.'}${advice[about]}`
  return [banner('open', marks.open, title[about], sentence)]
}

const sentenceCase = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

type Verified = Extract<Message, { kind: 'verified' }>

function report(verification: Verified['verification'], subject: Subject, ms: number, file: File): Node[] {
  const { tone, title, text } = concluded(verification)
  return [
    banner(tone, marks[tone], title, text, ...(tone === 'limited' ? [bringButton()] : [])),
    ...findings(verification),
    about(subject, ms, file),
    ...vouchers(verification),
    checks(verification),
    ...notes(verification),
  ]
}

const MOST_FINDINGS = 50

function findings({ findings: all }: Verified['verification']): Node[] {
  const failed = all.filter(({ state }) => state === 'failed')
  if (failed.length === 0) return []
  const rows = failed
    .slice(0, MOST_FINDINGS)
    .map(({ seq, verdict, message }) =>
      element(
        'tr',
        {},
        element('td', {}, seq === undefined ? '–' : seq.toLocaleString('en')),
        element('td', {}, VERDICT_WORDS[verdict].title),
        element('td', {}, message),
      ),
    )
  const head = ['Entry', 'Check', 'What was found'].map((name) => element('th', { scope: 'col' }, name))
  const more = failed.length > MOST_FINDINGS ? [element('p', {}, `… and ${failed.length - MOST_FINDINGS} more`)] : []
  return [
    element(
      'section',
      { class: 'card' },
      element('h3', {}, 'What is wrong'),
      element(
        'div',
        { class: 'scroll', role: 'region', 'aria-label': 'Findings', tabindex: '0' },
        element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)),
      ),
      ...more,
    ),
  ]
}

function about(subject: Subject, ms: number, file: File): HTMLElement {
  const { covered, size, ranges } = subject
  const spans = ranges.slice(0, 3).map(({ from, to }) => (to - from === 1 ? `${from}` : `${from} to ${to - 1}`))
  const rows: [string, string, string?][] = [
    ['File', `${file.name}, ${file.size.toLocaleString('en')} bytes`],
    ['Log', subject.origin],
    [
      'Entries',
      `${covered.toLocaleString('en')} of ${size.toLocaleString('en')} (${spans.join(', ')}${ranges.length > 3 ? ' …' : ''})`,
    ],
    ['Root', subject.root ?? 'not readable', 'code'],
    ...subject.vkeys.map((vkey): [string, string, string] => ['Key in the pack', vkey, 'code']),
    ['Checked', `in ${ms < 100 ? 'less than 0.1' : seconds(ms)} s, in this browser`],
  ]
  const cells = rows.flatMap(([label, value, kind]) => [
    element('dt', {}, label),
    element('dd', kind === undefined ? {} : { class: kind }, value),
  ])
  return element('section', { class: 'card' }, element('h3', {}, 'What was checked'), element('dl', {}, ...cells))
}

const seconds = (ms: number) => (ms / 1000).toLocaleString('en', { maximumFractionDigits: 1 })

/** Who outside vouches, since when, for how much. */
function vouchers({ anchors }: Verified['verification']): Node[] {
  if (anchors.length === 0) return []
  const cells = anchors.flatMap((anchor) => {
    const accuracy = anchor.kind === 'timestamp' && anchor.accuracyMs > 0 ? ` ± ${anchor.accuracyMs / 1000} s` : ''
    const held = `the first ${anchor.entries.toLocaleString('en')} entries`
    const name = anchor.kind === 'timestamp' ? anchor.authority : anchor.name
    return [
      element('dt', {}, anchor.kind === 'timestamp' ? 'Timestamp' : 'Witness'),
      element('dd', {}, `${name}, ${anchor.time}${accuracy}: ${held}`),
    ]
  })
  return [element('section', { class: 'card' }, element('h3', {}, 'Who vouches for it'), element('dl', {}, ...cells))]
}

function checks({ verdicts, findings: all }: Verified['verification']): HTMLElement {
  const items = VERDICTS.map((verdict) => {
    const state = verdicts[verdict]
    const words = VERDICT_WORDS[verdict]
    const why = all.find((finding) => finding.verdict === verdict && finding.state === 'unchecked')?.message
    const text = state === 'unchecked' ? (why === undefined ? words.unchecked : `${why}.`) : words[state]
    return element(
      'li',
      { class: state },
      element('span', { class: 'mark', 'aria-hidden': 'true' }, marks[state]),
      element(
        'span',
        {},
        element('strong', {}, words.title),
        element('span', { class: 'hidden' }, `, ${stateWords[state]}`),
        element('span', { class: 'say' }, text),
      ),
    )
  })
  return element(
    'section',
    { class: 'card' },
    element('h3', {}, 'The checks'),
    element('ul', { class: 'checks' }, ...items),
  )
}

function notes({ notes: all }: Verified['verification']): Node[] {
  if (all.length === 0) return []
  const items = all.map((note) => element('li', {}, `${sentenceCase(note)}.`))
  return [
    element('section', { class: 'card' }, element('h3', {}, 'Notes'), element('ul', { class: 'notes' }, ...items)),
  ]
}

show('drop')
