/** The formats that can be imported, by name. */

import { auth0 } from './format/auth0.ts'
import { azure } from './format/azure.ts'
import { cloudtrail } from './format/cloudtrail.ts'
import { csv } from './format/csv.ts'
import { github } from './format/github.ts'
import { gsuite } from './format/gsuite.ts'
import { ndjson } from './format/ndjson.ts'
import { okta } from './format/okta.ts'
import { slack } from './format/slack.ts'
import type { Format } from './format.ts'

export const formats: ReadonlyMap<string, Format> = new Map(
  [cloudtrail, okta, github, auth0, slack, gsuite, azure, ndjson, csv].map((format) => [format.name, format]),
)
