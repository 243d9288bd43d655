/** Where a tenant's trail is served. */
import { serverUrl } from '../../config.ts'
import { Failure } from '../../failure.ts'

/** `https://host/v1/trails/org_1` names its tenant; `https://host` needs `--tenant`. */
export function placeOf(address: string, option: string | undefined): { url: string; tenant: string } {
  const whole = serverUrl(address)
  const match = /^(.*)\/v1\/trails\/([^/]+)$/.exec(whole)
  const named = match === null ? undefined : decoded(match[2]!)
  if (named !== undefined && option !== undefined && named !== option)
    throw new Failure(`The address names the tenant ${named}, --tenant names ${option}.`)
  const tenant = option ?? named
  if (tenant === undefined) throw new Failure('Name the tenant whose trail is to be checked: --tenant ID.')
  return { url: match?.[1] ?? whole, tenant }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Failure(`${text} names no tenant: a % in an address is written %25.`)
  }
}
