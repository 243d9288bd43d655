/** The formats that can be imported, by name. */

import { cloudtrail } from './format/cloudtrail.ts'
import { csv } from './format/csv.ts'
import { ndjson } from './format/ndjson.ts'
import { okta } from './format/okta.ts'
import type { Format } from './format.ts'

export const formats: ReadonlyMap<string, Format> = new Map(
  [cloudtrail, okta, ndjson, csv].map((format) => [format.name, format]),
)
