/** Asks for the next few things while the present one is worked on, and hands them over in order. */

/** @param width how many may be under way at once */
export async function* ahead<T, R>(
  items: Iterable<T>,
  width: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<{ readonly item: T; readonly result: R }> {
  const under: { readonly item: T; readonly result: Promise<R> }[] = []
  for (const item of items) {
    const result = work(item)
    // A failure is met when its turn comes, not by the process as an unhandled rejection.
    result.catch(() => {})
    under.push({ item, result })
    if (under.length < width) continue
    const next = under.shift()!
    yield { item: next.item, result: await next.result }
  }
  for (const { item, result } of under) yield { item, result: await result }
}
