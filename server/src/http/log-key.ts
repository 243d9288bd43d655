// The log's signing key over HTTP: making its successor, and retiring what has one. Both take effect when each server
// process is started again.
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { addLogKey, openLogKeys, retireLogKeys } from '../keys/log-key.ts'
import type { Keys } from '../keys/open-keys.ts'
import type { RegistryReader } from '../registry/read.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import { actorOf, type PlatformRecorder } from './platform-events.ts'
import { refuse } from './refused.ts'
import { object } from './schemas.ts'

export interface LogKeyParts {
  readonly keys: Keys
  readonly registry: Pick<RegistryReader, 'vkeys'>
  readonly recorder: PlatformRecorder
}

const Body = Type.Object(
  {
    action: Type.Enum(['rotate', 'retire'], {
      description:
        'rotate: makes the next key; the old one signs along. retire: destroys every key that has a successor in the registry log',
    }),
  },
  { additionalProperties: false },
)
const check = Compile(Body)

export function logKeyOperations(parts: LogKeyParts): Operation[] {
  return [
    {
      method: 'POST',
      path: '/v1/log-key',
      operationId: 'changeLogKey',
      tag: 'Registry',
      summary: "Rotate the log's signing key, or retire the old one",
      description:
        'Needs an operator key. A new key signs once every server process has been started again; the registry log then names it, signed by the key before it. Retire the old one when whoever pinned it has had time to follow.',
      scope: 'keys:rotate',
      body: { 'application/json': Body },
      responses: {
        200: {
          description: 'Done, from the next start of each process on',
          content: {
            'application/json': object({
              vkey: Type.String({ description: 'The newest key under the origin of the registry' }),
              retired: Type.Integer({ description: 'Keys that were destroyed' }),
            }),
          },
        },
      },
      problems: [...bodyProblems, 'wrong_tenant', 'conflict', 'not_notarized'],
      handle: (call) => change(parts, call),
    },
  ]
}

async function change({ keys, registry, recorder }: LogKeyParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const { action } = jsonBody(call.body, check)
  if (principal.tenant !== null)
    throw refuse('wrong_tenant', 'Only an operator key may change the signing key of the log.')
  const named = (await registry.vkeys())?.slice(0, -1) // the last one is the recovery key
  if (named === undefined)
    throw refuse('not_notarized', 'The registry has no epoch yet.', undefined, { 'retry-after': '1' })
  const origin = named[0]!.slice(0, named[0]!.indexOf('+'))
  const { log } = await openLogKeys(keys.folder, keys.provider, false)
  const isNamed = named.includes(log.vkey(origin))
  if (!isNamed && action === 'retire')
    throw refuse(
      'conflict',
      'The newest key is not in the registry log yet: start every server process again, and wait.',
    )
  // Asked for again before the restart, it is the same key.
  const newest = isNamed && action === 'rotate' ? await addLogKey(keys.folder, keys.provider) : log
  const retired = action === 'retire' ? await retireLogKeys(keys.folder) : 0
  const vkey = newest.vkey(origin)
  await recorder.record({
    id: `log_key.${action}:${vkey.slice(origin.length + 1, origin.length + 9)}`,
    tenant: undefined,
    action: 'affidavit.log_key.rotated',
    actor: actorOf(principal, undefined),
    metadata: { action, vkey },
  })
  return { status: 200, body: { vkey, retired } }
}
