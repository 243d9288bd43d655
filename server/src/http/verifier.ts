// The verifiers that anybody can take along: a page that checks packs in the browser and sends nothing, and the same as
// one file for Node. Built by web/verify/build.ts; public, because whoever checks a log needs no account.
import { readFile } from 'node:fs/promises'
import Type from 'typebox'
import type { Operation, Reply } from './operation.ts'
import { refuse } from './refused.ts'

const folder = new URL('../../dist/verifier/', import.meta.url)

export const verifierOperations: readonly Operation[] = [
  {
    method: 'GET',
    path: '/verify',
    operationId: 'getVerifierPage',
    tag: 'Proofs',
    summary: 'A page that checks evidence packs in the browser',
    description: 'One HTML file. It computes in the browser; its policy lets it connect to nothing.',
    scope: null,
    responses: { 200: { description: 'The page', content: { 'text/html': Type.String() } } },
    problems: ['not_found'],
    handle: () => built('index.html', 'text/html; charset=utf-8'),
  },
  {
    method: 'GET',
    path: '/verify/affidavit-verify.mjs',
    operationId: 'getVerifierProgram',
    tag: 'Proofs',
    summary: 'The verifier of evidence packs as one file for Node.js 20 and newer',
    scope: null,
    responses: { 200: { description: 'The program', content: { 'text/javascript': Type.String() } } },
    problems: ['not_found'],
    handle: () => built('affidavit-verify.mjs', 'text/javascript; charset=utf-8'),
  },
]

async function built(name: string, type: string): Promise<Reply> {
  const body = await readFile(new URL(name, folder)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    throw refuse('not_found', 'The verifier was not built here: `npm run build:verifier` does it.')
  })
  const headers = {
    'cache-control': 'public, max-age=300',
    // The page brings its own policy; who may frame it can only be said here.
    'content-security-policy': "frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
  }
  return { status: 200, body, type, headers }
}
