// PostgreSQL writes its log straight into a file, so that it goes on writing when this process is killed. The file is
// bounded by copying it aside and truncating it: PostgreSQL appends, and simply continues at the new end.
import { closeSync, copyFileSync, openSync, readSync, statSync, truncateSync } from 'node:fs'

const limit_bytes = 16 * 2 ** 20

export interface LogFile {
  /** For the child's stdout and stderr. */
  fd: number
  /** What was written since `mark` was last called, at most the last 4 KiB. */
  tail(): string
  mark(): void
  close(): void
}

export function openLogFile(path: string): LogFile {
  const fd = openSync(path, 'a+', 0o600)
  let marked = 0
  const rotate = () => {
    if (statSync(path).size < limit_bytes) return
    copyFileSync(path, `${path}.1`)
    truncateSync(path)
    marked = 0
  }
  const size = () => statSync(path).size
  rotate()
  marked = size()
  const timer = setInterval(() => {
    try {
      rotate()
    } catch {
      // A full disk: the next round tries again.
    }
  }, 60_000).unref()
  return {
    fd,
    mark: () => {
      marked = size()
    },
    tail: () => {
      const end = size()
      const start = Math.max(marked, end - 4096)
      const bytes = Buffer.alloc(Math.max(0, end - start))
      readSync(fd, bytes, 0, bytes.length, start)
      return bytes.toString('utf8').trim()
    },
    close: () => {
      clearInterval(timer)
      closeSync(fd)
    },
  }
}
