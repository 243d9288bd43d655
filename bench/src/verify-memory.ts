// Memory of offline verification: of a pack and of one that is ten times as large, by the verifier in one file and by the
// command line. It must not grow with the pack.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { verified } from './pack.ts'
import { type Figure, figure, report } from './report.ts'
import { writeLongPack } from './verify-packs.ts'

const root = join(import.meta.dirname, '..', '..')

const method = `
Two packs of whole trails with all contents, one of them ten times as long as the other. Every event is the same one of about
540 bytes with one personal line, so that the packs are quickly made and lie small on the disk; to the verifier that makes no
difference, since it inflates, decodes and hashes all of it. A process bound to one core with \`taskset\` verifies a pack against
the pinned key and ends: its peak resident set.`

const programs = {
  'the single file': [join(root, 'server/dist/verifier/affidavit-verify.mjs')],
  'the command line': [join(root, 'cli/bin/affidavit.mjs'), 'verify'],
}

/** @param events of the larger pack */
export async function verifyMemory(folder: string, events: number, runs: number): Promise<void> {
  execFileSync(process.execPath, ['web/verify/build.ts'], { cwd: root })
  const files = mkdtempSync(join(folder, 'affidavit-verify-memory-'))
  const figures: Figure[] = []
  try {
    for (const size of [Math.ceil(events / 10), events]) {
      const path = join(files, `${size}.zip`)
      const vkey = await writeLongPack(size, path)
      const named = `${size.toLocaleString('en')} events`
      console.error(`made a pack of ${named}, ${Math.round(statSync(path).size / 1e6)} MB`)
      for (const [program, args] of Object.entries(programs)) {
        const ran = []
        for (let run = 0; run < runs; run++) ran.push(await verified([...args, path, '--vkey', vkey]))
        const peaks = ran.map(({ megabytes }) => megabytes)
        figures.push(figure(`${named}: memory of ${program}, peak`, 'MB', peaks, '≤ 200'))
      }
      rmSync(path)
    }
  } finally {
    rmSync(files, { recursive: true })
  }
  report('verify-memory', method, figures)
}
