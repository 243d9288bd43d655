// The pages of docs/reference, made from the tables that the server itself works by. docs.test.ts compares them with the
// files; after a change of a table:
//
//   node cli/bin/node24.mjs server/test/reference.ts      writes them anew
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { settings } from '../src/config.ts'
import { FilterParameters } from '../src/filter/parameters.ts'
import { problems } from '../src/ingest/problem.ts'
import { operatorScopes, type Scope, scopes } from '../src/tenants/scopes.ts'

const root = join(import.meta.dirname, '..', '..')

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')
const made = (source: string) => `Made from \`${source}\` by \`server/test/reference.ts\`.`

/** The pages by their path from the repository's root. */
export function referencePages(): Record<string, string> {
  return {
    'docs/reference/configuration.md': `# Configuration

Environment variables of \`affidavit serve\`. An empty one counts as absent; a wrong one stops the start. ${made('server/src/config.ts')}

${table(
  ['variable', 'default', 'meaning'],
  Object.entries(settings).map(([name, setting]) => [
    `\`${name}\``,
    setting.default === undefined ? '' : `\`${setting.default}\``,
    setting.about,
  ]),
)}
`,
    'docs/reference/problems.md': `# Problems

What a refused request is answered with: \`application/problem+json\` (RFC 9457) with a stable \`code\` and, where one value
is to blame, its JSON \`pointer\`. ${made('server/src/ingest/problem.ts')}

${table(
  ['code', 'status', 'title', 'what to do'],
  Object.entries(problems).map(([code, { status, title, advice }]) => [`\`${code}\``, String(status), title, advice]),
)}
`,
    'docs/reference/scopes.md': `# Scopes

What an API key may do. ${made('server/src/tenants/scopes.ts')}

${table(
  ['scope', 'allows', 'for keys bound to a tenant'],
  Object.entries(scopes).map(([name, allows]) => [
    `\`${name}\``,
    allows,
    operatorScopes.has(name as Scope) ? 'no' : 'yes',
  ]),
)}
`,
    'docs/reference/search.md': `# Search parameters

Of \`GET /v1/events\`; any \`metadata.<key>=value\` besides. The guide is [search](../guides/search.md). ${made('server/src/filter/parameters.ts')}

${table(
  ['parameter', 'finds or does', 'more than once'],
  Object.entries(FilterParameters.properties).map(([name, schema]) => {
    const { description, type } = schema as { description?: string; type?: string }
    return [`\`${name}\``, description ?? '', type === 'array' ? 'any of them' : 'no']
  }),
)}
`,
  }
}

if (process.argv[1] === import.meta.filename) {
  for (const [path, text] of Object.entries(referencePages())) writeFileSync(join(root, path), text)
}
