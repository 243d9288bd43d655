// The PostgreSQL of a test run, started once: the embedded one in a temporary folder, or the server named by
// AFFIDAVIT_TEST_DATABASE_URL (a superuser's URL). Every test file clones its own database from a migrated template
// (database.ts), so files run side by side and leave nothing for each other.
//
// fsync stays on: the server refuses to run without it. Temporary folders are in memory where there is room
// (vitest.config.ts), so it costs little.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { type Embedded, startEmbedded } from '../src/store/embedded.ts'
import { silent } from '../src/store/log.ts'
import { migrate } from '../src/store/migrate.ts'

export interface TestServer {
  host: string
  port: number
  user: string
  password?: string
  database: string
}

declare module 'vitest' {
  export interface ProvidedContext {
    postgres: TestServer
    template: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const url = process.env.AFFIDAVIT_TEST_DATABASE_URL
  const started = url ? undefined : await startTestPostgres()
  const server = url ? fromUrl(url) : started!.embedded.connection
  const template = `affidavit_template_${process.pid}`
  const admin = new pg.Client(server)
  await admin.connect()
  await admin.query(`create database ${template} template template0 encoding 'UTF8'`)
  await migrate({ ...server, database: template }, silent)
  await admin.query(`alter database ${template} is_template true`)
  project.provide('postgres', server)
  project.provide('template', template)
  return async () => {
    await admin.query(`alter database ${template} is_template false`)
    await admin.query(`drop database ${template} with (force)`)
    await admin.end()
    await started?.embedded.stop()
    if (started) await rm(started.folder, { recursive: true, force: true })
  }
}

async function startTestPostgres(): Promise<{ embedded: Embedded; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'affidavit-test-'))
  const settings = {
    max_connections: '300',
    shared_buffers: '256MB',
    max_wal_size: '512MB',
    min_wal_size: '128MB',
    autovacuum: 'off',
  }
  const embedded = await startEmbedded({ folder: join(folder, 'postgres'), log: silent, settings })
  return { embedded, folder }
}

function fromUrl(url: string): TestServer {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  return {
    host: searchParams.get('host') ?? decodeURIComponent(hostname),
    port: Number(searchParams.get('port') ?? port) || 5432,
    user: decodeURIComponent(username),
    ...(password && { password: decodeURIComponent(password) }),
    database: pathname.slice(1) || 'postgres',
  }
}
