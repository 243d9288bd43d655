// Rotation of a tenant's keys over HTTP. Nothing is lost by it, so one principal is enough.
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import type { Rotation } from '../erase/rotation.ts'
import { openTenant, TenantId } from './acts.ts'
import { bodyProblems, jsonBody } from './json-body.ts'
import type { Call, Operation, Reply } from './operation.ts'
import type { OwnTenants } from './own-tenants.ts'
import { actorOf, type PlatformRecorder } from './platform-events.ts'
import { refuse } from './refused.ts'
import { object } from './schemas.ts'

export interface RotationParts {
  readonly own: OwnTenants
  readonly rotation: Rotation
  readonly recorder: PlatformRecorder
}

const Body = Type.Object(
  {
    tenant: TenantId,
    key: Type.Enum(['data', 'subject'], {
      description:
        'data: encrypts confidential values. subject: wraps the keys of people; its old generations are destroyed',
    }),
  },
  { additionalProperties: false },
)
const check = Compile(Body)
const json = <T>(schema: T) => ({ 'application/json': schema })

export function rotationOperations(parts: RotationParts): Operation[] {
  return [
    {
      method: 'POST',
      path: '/v1/rotations',
      operationId: 'rotateKey',
      tag: 'Forgetting',
      summary: "Rotate one of a tenant's keys",
      description: 'The subject-wrap key is rotated daily by itself where people were erased.',
      scope: 'keys:rotate',
      body: json(Body),
      responses: {
        200: {
          description: 'Rotated',
          content: json(
            object({
              key: Type.Enum(['data', 'subject']),
              generation: Type.Integer({ description: 'In use from now on; as in the `keys` entries, from 1' }),
              destroyed: Type.Array(Type.Integer({ description: 'Generations that are gone' })),
              buckets: Type.Integer({ description: 'Buckets of people that were wrapped anew' }),
            }),
          ),
        },
      },
      problems: [...bodyProblems, 'not_found', 'conflict', 'rate_limited', 'tenant_closed'],
      handle: (call) => rotate(parts, call),
    },
  ]
}

async function rotate({ own, rotation, recorder }: RotationParts, call: Call): Promise<Reply> {
  const principal = call.principal!
  const { tenant: id, key } = jsonBody(call.body, check)
  const tenant = await openTenant(own, principal, id)
  const rotated = key === 'subject' ? await rotation.subjectKey(tenant, true) : undefined
  if (key === 'subject' && rotated === undefined)
    throw refuse('conflict', 'Nobody has a key yet: there is nothing to rotate.', '/key')
  const generation = (rotated?.generation ?? (await rotation.dataKey(tenant))) + 1
  await recorder.record({
    id: `keys.rotated:${tenant.trail.id}:${key}:${generation}`,
    tenant: tenant.id,
    action: 'affidavit.keys.rotated',
    actor: actorOf(principal, tenant.id),
    metadata: { key, generation },
  })
  return {
    status: 200,
    body: {
      key,
      generation,
      destroyed: rotated?.destroyed.map((old) => old + 1) ?? [],
      buckets: (rotated?.moved ?? 0) + (rotated?.renewed ?? 0),
    },
  }
}
