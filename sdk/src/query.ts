/** Reading back: the filter of GET /v1/events, page by page. */

import { AffidavitError } from './error.ts'
import type { Category, Outcome, Page, StoredEvent } from './event.ts'

/** Every member narrows the result; a list means "any of these". */
export interface Filter {
  tenant?: string
  actor?: string
  /** Exact, or with a `*` at the end: `user.role.*`. */
  action?: string
  category?: Category
  target?: string
  team?: string
  outcome?: Outcome
  ip?: string
  auth_method?: string
  request_id?: string
  trace_id?: string
  session_id?: string
  from?: string | Date
  to?: string | Date
  /** Words to find. */
  q?: string
  /** Top-level metadata that must be equal. */
  metadata?: { [key: string]: string | number | boolean }
  /** Sealing order; default `desc`, the newest first. */
  order?: 'asc' | 'desc'
}

export interface PageOptions {
  limit?: number
  /** Cursor: the `next` of the page before. */
  after?: string
}

/** The query string of a filter. */
export function filterQuery(filter: Filter, page: PageOptions = {}): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries({ ...filter, ...page })) {
    if (value === undefined || name === 'metadata') continue
    query.append(name, value instanceof Date ? value.toISOString() : String(value))
  }
  for (const [key, value] of Object.entries(filter.metadata ?? {})) query.append(`metadata.${key}`, String(value))
  return query.toString()
}

/** Walks all pages. The next page is asked for only when the caller needs it. */
export async function* eachEvent(
  fetchPage: (page: PageOptions) => Promise<Page>,
  pageSize: number,
): AsyncGenerator<StoredEvent, void, undefined> {
  let after: string | undefined
  do {
    const page: Page = await fetchPage(after === undefined ? { limit: pageSize } : { limit: pageSize, after })
    yield* page.data
    if (page.next !== null && page.next === after) {
      throw new AffidavitError({ status: 200, code: 'unexpected_reply', detail: 'the cursor does not advance' })
    }
    after = page.next ?? undefined
  } while (after !== undefined)
}
