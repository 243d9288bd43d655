// docs/reference/api.md, made from the OpenAPI document that the server itself serves; http-reference.test.ts compares it
// with the file. After a change of an operation:
//
//   node cli/bin/node24.mjs server/test/http-reference.ts      writes it anew
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { anchorOperations } from '../src/http/anchors.ts'
import { forgetOperations } from '../src/http/forget.ts'
import { holdOperations } from '../src/http/holds.ts'
import { keyOperations } from '../src/http/keys.ts'
import { logKeyOperations } from '../src/http/log-key.ts'
import { openApi } from '../src/http/openapi.ts'
import { operatorStatusOperation } from '../src/http/operator-status.ts'
import { packOperations } from '../src/http/packs.ts'
import { readOperations } from '../src/http/read-events.ts'
import { registryOperations } from '../src/http/registry.ts'
import { rotationOperations } from '../src/http/rotations.ts'
import { scrubOperations } from '../src/http/scrub.ts'
import { Metrics, statusOperations } from '../src/http/status.ts'
import { tenantOperations } from '../src/http/tenants.ts'
import { trailOperations } from '../src/http/trails.ts'
import { verifierOperations } from '../src/http/verifier.ts'
import { verifyOperations } from '../src/http/verify.ts'
import { writeOperations } from '../src/http/write-events.ts'

export const apiPagePath = join(import.meta.dirname, '..', '..', 'docs', 'reference', 'api.md')

interface Documented {
  readonly operationId: string
  readonly tags: readonly string[]
  readonly summary: string
  readonly description?: string
  readonly 'x-scope'?: string
  readonly parameters: readonly { name: string; in: string; required: boolean; description?: string }[]
  readonly requestBody?: { content: Record<string, unknown> }
  readonly responses: Readonly<
    Record<string, { description: string; content?: Record<string, unknown>; 'x-codes'?: readonly string[] }>
  >
}

/** Operations as data need no server: what answers them is never called here. */
export async function documented(): Promise<Record<string, Record<string, Documented>>> {
  const parts = {} as never
  const nothing = () => 0
  const metrics = new Metrics({
    waitingEvents: nothing,
    waitingBytes: nothing,
    stoppedLanes: nothing,
    scrub: async () => ({ checked: 0, openFindings: 0, stoppedTrails: 0 }),
    unnotarizedEvents: async () => 0,
  })
  const operations = [
    ...writeOperations(parts),
    ...readOperations(parts),
    ...trailOperations(parts),
    ...packOperations(parts),
    ...verifierOperations,
    ...verifyOperations(parts),
    ...registryOperations(parts),
    ...logKeyOperations(parts),
    ...anchorOperations(parts),
    ...scrubOperations(parts),
    ...forgetOperations(parts),
    ...holdOperations(parts),
    ...rotationOperations(parts),
    ...tenantOperations(parts),
    ...keyOperations(parts),
    ...statusOperations(metrics, async () => ({ ready: true, waitingFor: [] })),
    operatorStatusOperation(parts),
  ]
  const { body } = await openApi(operations).handle({} as never)
  return (JSON.parse(body as string) as { paths: Record<string, Record<string, Documented>> }).paths
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

/** Codes that any operation may answer with are told once, above. */
const everywhere = new Set([
  'invalid_request',
  'invalid_parameter',
  'internal_error',
  'unavailable',
  'keys_unavailable',
  'unauthorized',
])

function section(method: string, path: string, operation: Documented): string {
  const { summary, description, 'x-scope': scope, parameters, requestBody, responses } = operation
  const codes = Object.values(responses)
    .flatMap((response) => response['x-codes'] ?? [])
    .filter((code) => !everywhere.has(code))
  const answers = Object.entries(responses).filter(([status]) => status.startsWith('2'))
  return [
    `### ${method.toUpperCase()} ${path}`,
    `${summary}. ${description ?? ''}`.trim(),
    [
      `- scope: ${scope === undefined ? 'none, public' : `\`${scope}\``}`,
      ...(requestBody === undefined
        ? []
        : [
            `- body: ${Object.keys(requestBody.content)
              .map((type) => `\`${type}\``)
              .join(', ')}`,
          ]),
      ...parameters.map(
        ({ name, in: where, description: about }) =>
          `- ${where === 'header' ? 'header' : `${where} parameter`} \`${name}\`${about === undefined ? '' : `: ${cell(about)}`}`,
      ),
      ...answers.map(([status, { description: about }]) => `- ${status}: ${about}`),
      ...(codes.length === 0 ? [] : [`- refuses with ${codes.map((code) => `\`${code}\``).join(', ')}`]),
    ].join('\n'),
  ].join('\n\n')
}

export async function apiPage(): Promise<string> {
  const byTag = new Map<string, string[]>()
  for (const [path, methods] of Object.entries(await documented()))
    for (const [method, operation] of Object.entries(methods)) {
      const [tag] = operation.tags as [string]
      byTag.set(tag, [...(byTag.get(tag) ?? []), section(method, path, operation)])
    }
  const chapters = [...byTag].map(([tag, sections]) => `## ${tag}\n\n${sections.join('\n\n')}`)
  return `# HTTP API

Every operation, as \`GET /openapi.json\` (OpenAPI 3.1, with all schemas) describes it. Made from there by
\`server/test/http-reference.ts\`.

Send \`Authorization: Bearer <key>\`. A refusal is \`application/problem+json\` with a stable \`code\`: [problems](problems.md)
lists them; any operation may answer ${[...everywhere].map((code) => `\`${code}\``).join(', ')}. What a key may do is in [scopes](scopes.md).

${chapters.join('\n\n')}
`
}

if (process.argv[1] === import.meta.filename) writeFileSync(apiPagePath, await apiPage())
