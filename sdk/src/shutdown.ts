/** Sends what still waits before the process ends. */

export type ShutdownSignal = 'SIGINT' | 'SIGTERM'

/** Our own signal handlers: a process in which only these listen has not decided to survive the signal. */
const ours = new WeakSet<(...args: never[]) => void>()

/**
 * Flushes when the event loop runs empty (`beforeExit`), and on the given signals. After a signal's flush the signal is
 * raised again if only Affidavit clients listen to it, so the process ends as it would have ended; with other listeners,
 * ending is theirs. Returns a function that removes the hooks.
 */
export function flushOnShutdown(
  flush: () => Promise<unknown>,
  hooks: { beforeExit: boolean; signals: readonly ShutdownSignal[] },
): () => void {
  const onBeforeExit = () => void flush()
  const onSignal = (signal: ShutdownSignal) => {
    const unclaimed = process.listeners(signal).every((listener) => ours.has(listener))
    void flush().finally(() => {
      remove()
      if (unclaimed) process.kill(process.pid, signal)
    })
  }
  const remove = () => {
    process.removeListener('beforeExit', onBeforeExit)
    for (const signal of hooks.signals) process.removeListener(signal, onSignal)
  }
  ours.add(onSignal)
  if (hooks.beforeExit) process.on('beforeExit', onBeforeExit)
  for (const signal of hooks.signals) process.on(signal, onSignal)
  return remove
}
