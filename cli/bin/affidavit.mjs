#!/usr/bin/env node
// The `affidavit` command: finds Node 24 (see node24.mjs) and hands over to src/main.ts.
import module from 'node:module'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { runUnderNode24 } from './node24.mjs'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
// Node keeps what it makes of the sources where they were installed, if it may write there: a command then starts in half
// the time, and a server's threads do without the compiler (measured: 30 MB). What cannot be written is made anew.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../node_modules/.cache/affidavit', import.meta.url))
// The server runs with bounds on its memory, which only a new process can be given: what waits in it is bounded to far
// less (http/gate.ts, http/body.ts, seal/sealer.ts), and without a bound V8 would let garbage pile up to half a gigabyte.
// Without pretenuring: a burst of new people makes V8 believe that what events are made of lives long, and from then on
// it is born old and only the slow collection frees it (measured: a third of the server's processor time).
// The heap may double before it is collected as a whole: V8's own choice, about a sixth, marks it many times as often, on
// threads that single events wait for. Marking begins when no more room is left than the young generation may take, so the
// larger that is, the more it has to be.
const serveFlags = [
  '--max-old-space-size=320',
  '--max-semi-space-size=16',
  '--heap-growing-percent=100',
  '--no-allocation-site-pretenuring',
]
const flags = process.argv[2] === 'serve' ? serveFlags : []
// glibc gives each thread an arena of its own, and keeps what was freed in it: some 15 MB for nothing.
if (flags.length > 0) process.env.MALLOC_ARENA_MAX ??= '2'
if (flags.length === 0 && Number(process.versions.node.split('.')[0]) >= 24) {
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
  process.argv[1] = main
  await import(main)
} else runUnderNode24([...flags, main, ...process.argv.slice(2)])
