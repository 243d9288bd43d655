// The main thread's end of the scrub: starts it and hears of findings.
import type { KeyPlace } from '../keys/open-provider.ts'
import { Background, Task } from '../store/background.ts'
import type { Login } from '../store/database.ts'
import type { Log } from '../store/log.ts'

export interface ScrubSettings {
  readonly login: Login
  /** What `openKeys` opened. */
  readonly keys: KeyPlace
  /** Events per second. */
  readonly rate: number
}

export interface Told {
  readonly tenant: string
  readonly trailId: string
  readonly seq: number | null
  readonly what: string
  readonly message: string
  readonly print: string
}

export type FromScrub = { type: 'found'; found: Told }

/**
 * Starts the scrub in a background thread. It runs until it is stopped, which waits for the page under way.
 * @param onFound called for what was not known; it is in the database by then
 * @throws TaskRefused with what kept it from starting
 */
export function startScrubTask(
  settings: ScrubSettings,
  log: Log,
  onFound: (found: Told) => void,
  background: Background = new Background(log),
): Promise<Task<never, FromScrub>> {
  return Task.start<never, FromScrub>(
    background,
    {
      name: 'the scrub',
      module: new URL('./worker.ts', import.meta.url),
      settings,
      onMessage: ({ found }) => onFound(found),
    },
    log,
  )
}
