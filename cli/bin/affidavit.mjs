#!/usr/bin/env node
// The `affidavit` command: finds Node 24 (see node24.mjs) and hands over to src/main.ts.
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { runUnderNode24 } from './node24.mjs'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
if (Number(process.versions.node.split('.')[0]) >= 24) {
  process.argv[1] = main
  await import(main)
} else runUnderNode24([main, ...process.argv.slice(2)])
