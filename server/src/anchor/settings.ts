// The file that AFFIDAVIT_ANCHORS names: further places that registry checkpoints go to. One schema per kind; a file
// with any mistake is refused at start, each mistake with its place in the file.
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type Static, type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'

/** The file cannot be used; the message lists every mistake. */
export class BadAnchors extends Error {
  override name = 'BadAnchors'
}

const closed = { additionalProperties: false } as const
const Secret = Type.Union([
  Type.String({ minLength: 1, maxLength: 4_096 }),
  Type.Object({ file: Type.String({ minLength: 1 }) }, closed),
])
const common = {
  name: Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,39}$', description: 'a-z, 0-9, _ and -, at most 40' }),
  every: Type.Optional(
    Type.String({ pattern: '^[1-9][0-9]{0,4}(s|m|h|d)$', description: 'a span like 15m, 1h or 1d' }),
  ),
}
const HttpUrl = Type.String({ pattern: '^https?://[^\\s]+$', maxLength: 2_000, description: 'an http or https URL' })

const schemas = {
  bucket: Type.Object(
    {
      ...common,
      kind: Type.Literal('bucket'),
      bucket: Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$', description: "a bucket's name" }),
      prefix: Type.Optional(Type.String({ pattern: '^([\\w.=-]+/)*$', description: 'segments that each end in /' })),
      region: Type.Optional(Type.String({ minLength: 1 })),
      endpoint: Type.Optional(HttpUrl),
      path_style: Type.Optional(Type.Boolean()),
      access_key_id: Type.Optional(Secret),
      secret_access_key: Type.Optional(Secret),
      lock: Type.Optional(Type.Enum(['compliance', 'none'])),
      retain_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 36_500 })),
      public: Type.Optional(Type.Boolean()),
    },
    closed,
  ),
  timestamp: Type.Object(
    { ...common, kind: Type.Literal('timestamp'), url: HttpUrl, ca_file: Type.String({ minLength: 1 }) },
    closed,
  ),
  mailbox: Type.Object(
    {
      ...common,
      kind: Type.Literal('mailbox'),
      smtp_url: Secret,
      ca_file: Type.Optional(Type.String({ minLength: 1 })),
      from: Type.String({ minLength: 3, maxLength: 320 }),
      to: Type.Array(Type.String({ pattern: '^[^\\s@,]+@[^\\s@,]+$', maxLength: 320 }), { minItems: 1, maxItems: 20 }),
    },
    closed,
  ),
  webhook: Type.Object(
    {
      ...common,
      kind: Type.Literal('webhook'),
      url: HttpUrl,
      secret: Secret,
      allow_private_addresses: Type.Optional(Type.Boolean()),
    },
    closed,
  ),
} as const satisfies Record<string, TSchema>

type Schemas = typeof schemas
export type AnchorKind = keyof Schemas
type Plain<T> = { [K in keyof T]: Exclude<T[K], { file: string }> }
/** As in the file, with secrets and certificates read, and defaults filled in. */
export type AnchorSettings = {
  [Kind in AnchorKind]: Plain<Omit<Static<Schemas[Kind]>, 'every' | 'ca_file'>> & {
    readonly every_ms: number
    /** Text of the certificates' file. */
    readonly ca?: string
  }
}[AnchorKind]

const usual_every: Readonly<Record<AnchorKind, string>> = {
  bucket: '1h',
  timestamp: '1h',
  mailbox: '1d',
  webhook: '1h',
}
const secretFields = ['access_key_id', 'secret_access_key', 'smtp_url', 'secret'] as const
const units_ms = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Reads and checks the file. Paths in it are relative to it. @throws BadAnchors */
export async function readAnchors(path: string): Promise<AnchorSettings[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new BadAnchors(`AFFIDAVIT_ANCHORS: ${path} cannot be read (${error.code}).`)
  })
  const problems: string[] = []
  const anchors = parseAnchors(text, problems)
  const settings: AnchorSettings[] = []
  for (const [n, anchor] of anchors.entries()) {
    try {
      settings.push(await complete(anchor, dirname(resolve(path))))
    } catch (error) {
      problems.push(`/anchors/${n}: ${(error as Error).message}`)
    }
  }
  if (problems.length > 0)
    throw new BadAnchors(`AFFIDAVIT_ANCHORS: ${path} cannot be used:\n  ${problems.join('\n  ')}`)
  return settings
}

type Given = Static<Schemas[AnchorKind]>

/** What is right in a file's text; what is wrong is added to `problems`, one line each with its JSON pointer. */
export function parseAnchors(text: string, problems: string[]): Given[] {
  let file: unknown
  try {
    file = JSON.parse(text)
  } catch (error) {
    problems.push(`it is not JSON: ${(error as Error).message}`)
    return []
  }
  const { anchors, ...others } = (typeof file === 'object' && file !== null ? file : {}) as { anchors?: unknown }
  for (const name of Object.keys(others)) problems.push(`/${name}: there is no such setting`)
  if (!Array.isArray(anchors)) {
    problems.push('/anchors: a list of anchors is needed')
    return []
  }
  const names = new Set<string>()
  return anchors.flatMap((anchor: unknown, n) => {
    const wrong = problemsOf(anchor)
    const { name } = (anchor ?? {}) as { name?: unknown }
    if (typeof name === 'string' && names.size === names.add(name).size)
      wrong.push('/name: another anchor has this name')
    problems.push(...wrong.map((line) => `/anchors/${n}${line}`))
    return wrong.length === 0 ? [anchor as Given] : []
  })
}

const checkers: Readonly<Record<string, Checker>> = Object.fromEntries(
  Object.entries(schemas).map(([kind, schema]) => [kind, Compile(schema as TSchema)]),
)

interface Checker {
  Check(value: unknown): boolean
  Errors(value: unknown): { keyword: string; instancePath: string; params: object; message: string }[]
}

function problemsOf(anchor: unknown): string[] {
  const { kind } = (anchor ?? {}) as { kind?: unknown }
  const checker = typeof kind === 'string' ? checkers[kind] : undefined
  if (checker === undefined) return [`/kind: one of ${Object.keys(schemas).join(', ')} is needed`]
  if (checker.Check(anchor)) return meaningOf(anchor as Given)
  const lines = checker.Errors(anchor).flatMap(({ keyword, instancePath, params, message }) => {
    const details = params as { requiredProperties?: string[]; additionalProperties?: string[] }
    if (keyword === 'required') return details.requiredProperties!.map((name) => `/${name}: is missing`)
    if (keyword === 'additionalProperties')
      return details.additionalProperties!.map((name) => `/${name}: there is no such setting for ${String(kind)}`)
    if (keyword === 'boolean') return [] // says once more what additionalProperties said
    return [`${instancePath}: ${describe(kind as AnchorKind, instancePath) ?? message}`]
  })
  return [...new Set(lines)]
}

/** What is allowed at a place, in words, where the schema has some. */
function describe(kind: AnchorKind, pointer: string): string | undefined {
  const properties = schemas[kind].properties as Readonly<Record<string, { description?: string }>>
  const allowed = properties[pointer.split('/')[1] ?? '']?.description
  return allowed === undefined ? undefined : `must be ${allowed}`
}

function meaningOf(anchor: Given): string[] {
  const problems: string[] = []
  if (anchor.kind === 'bucket') {
    if ((anchor.access_key_id === undefined) !== (anchor.secret_access_key === undefined))
      problems.push('/secret_access_key: access_key_id and secret_access_key belong together')
    if (anchor.lock === 'none' && anchor.retain_days !== undefined)
      problems.push('/retain_days: nothing is retained with lock "none"')
  }
  if ('url' in anchor && !URL.canParse(anchor.url)) problems.push('/url: must be an http or https URL')
  return problems
}

async function complete(anchor: Given, folder: string): Promise<AnchorSettings> {
  const { every = usual_every[anchor.kind], ...rest } = anchor
  const read = async (file: string) =>
    readFile(resolve(folder, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new Error(`${file} cannot be read (${error.code})`)
    })
  const settings: Record<string, unknown> = { ...rest, every_ms: spanMs(every) }
  for (const field of secretFields) {
    const value = settings[field]
    if (typeof value === 'object' && value !== null)
      settings[field] = (await read((value as { file: string }).file)).trim()
  }
  if ('ca_file' in anchor && anchor.ca_file !== undefined) settings.ca = await read(anchor.ca_file)
  delete settings.ca_file
  return settings as AnchorSettings
}

const spanMs = (text: string): number => Number(text.slice(0, -1)) * units_ms[text.at(-1) as keyof typeof units_ms]
