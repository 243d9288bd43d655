// Where PostgreSQL's files lie, and under which names its unprivileged user can reach them.
//
// A server started by root under a private home (/root, mode 0700) has its data folder where user 65534 cannot go by
// name. On Linux PostgreSQL then gets the folder as an open descriptor and reaches everything through /proc/self/fd/3:
// the kernel asks for no permission on the folders above. Nothing about the user's folders is changed.
import { closeSync, constants, openSync } from 'node:fs'
import { chmod, chown, lstat, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Identity, reachable } from './binaries.ts'
import { EmbeddedError } from './error.ts'

/** `sockaddr_un.sun_path` less its closing NUL: 107 bytes on Linux, 103 on macOS and the BSDs. */
const socket_path_bytes = process.platform === 'linux' ? 107 : 103

export const port = 5432

export interface Place {
  /** By its own name, for this process. */
  folder: string
  /** The same folder as PostgreSQL names it. */
  inside: string
  /** The descriptor that `inside` goes through: file descriptor 3 of the child. */
  fd: number | undefined
  /** Folder of the socket for this process and its children, and as PostgreSQL names it. */
  socket: string
  socketInside: string
  release(): Promise<void>
}

export async function preparePlace(folder: string, identity: Identity | undefined): Promise<Place> {
  await own(folder, identity)
  const direct = await reachable(folder, identity)
  if (!direct && process.platform !== 'linux')
    throw new EmbeddedError(
      'embedded_failed',
      `PostgreSQL does not run as root, and user ${identity?.uid} cannot reach ${folder}. Start the server as an ordinary ` +
        'user, or choose another folder in AFFIDAVIT_DATA_DIR.',
    )
  const fd = direct ? undefined : openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  const inside = direct ? folder : '/proc/self/fd/3'
  const socket = await socketFolder(folder, inside, identity)
  return {
    folder,
    inside,
    fd,
    socket: socket.path,
    socketInside: socket.inside,
    release: async () => {
      if (fd !== undefined) closeSync(fd)
      if (socket.temporary) await rm(socket.path, { recursive: true, force: true })
    },
  }
}

/** Makes a folder that belongs to PostgreSQL's user alone. */
async function own(path: string, identity: Identity | undefined): Promise<void> {
  await mkdir(path, { recursive: true })
  if (identity)
    await chown(path, identity.uid, identity.gid).catch((error: Error) => {
      throw new EmbeddedError(
        'embedded_failed',
        `PostgreSQL does not run as root, and ${path} could not be given to user ${identity.uid} (${error.message}). ` +
          'Start the server as an ordinary user, or name a PostgreSQL of your own in DATABASE_URL.',
      )
    })
  await chmod(path, 0o700)
}

async function socketFolder(folder: string, inside: string, identity: Identity | undefined) {
  const near = join(folder, 'run')
  if (fits(near)) {
    await own(near, identity)
    return { path: near, inside: join(inside, 'run'), temporary: false }
  }
  for (const base of [tmpdir(), '/tmp']) {
    if (!fits(join(base, 'affidavit-XXXXXX')) || !(await isFolder(base))) continue
    const path = await mkdtemp(join(base, 'affidavit-'))
    await own(path, identity)
    if (await reachable(path, identity)) return { path, inside: path, temporary: true }
    await rm(path, { recursive: true, force: true })
  }
  throw new EmbeddedError(
    'embedded_failed',
    `The path of ${folder} is too long for a Unix socket, and no short temporary folder was found. Choose a shorter one in AFFIDAVIT_DATA_DIR.`,
  )
}

const fits = (folder: string) => Buffer.byteLength(join(folder, `.s.PGSQL.${port}.lock`)) <= socket_path_bytes

const isFolder = (path: string) =>
  lstat(path).then(
    (at) => at.isDirectory(),
    () => false,
  )
