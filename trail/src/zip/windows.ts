/** Random access through windows: members of a pack stand one after another, and a request costs more than its bytes. */
import type { RandomAccess } from './zip.ts'

const WINDOW_BYTES = 2 ** 20
/** Entries, contents, tiles and the directory are read side by side. */
const WINDOWS = 4

interface Window {
  readonly from: number
  readonly to: number
  readonly bytes: Promise<Uint8Array>
}

/** What `file` gives, read a megabyte at a time. Bytes handed out are views and must not be changed. */
export function windowed(file: RandomAccess): RandomAccess {
  const windows: Window[] = []
  return {
    size: file.size,
    read: async (offset, length) => {
      const end = Math.min(offset + length, file.size)
      let at = windows.findIndex(({ from, to }) => from <= offset && end <= to)
      if (at < 0) {
        if (end - offset > WINDOW_BYTES / 4) return file.read(offset, length)
        const to = Math.min(offset + WINDOW_BYTES, file.size)
        if (windows.length === WINDOWS) windows.shift()
        at = windows.push({ from: offset, to, bytes: file.read(offset, to - offset) }) - 1
      }
      const window = windows[at]!
      // The one used longest ago goes first.
      if (at < windows.length - 1) windows.push(windows.splice(at, 1)[0]!)
      return (await window.bytes).subarray(offset - window.from, end - window.from)
    },
  }
}
