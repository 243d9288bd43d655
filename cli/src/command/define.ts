/** What every command file exports, and the options that client commands have in common. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { asFailure } from '../remote.ts'
import type { Terminal } from '../terminal.ts'

/** Adds a command to its parent. `done` takes the exit code of a run that did not fail with a sentence. */
export type Define = (parent: Command, terminal: Terminal, done: (exitCode: number) => void) => void

/** A command of a group that asks a server, and may print JSON. */
export function subcommand(group: Command, usage: string, description: string): Command {
  return withServer(group.command(usage).description(description).option('--json', 'Print JSON'))
}

/** Waits for what a command does; a refusal of the server becomes a Failure that says what to do. */
export async function told(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    throw asFailure(error)
  }
}

/** `--url` and `--key`, in a group of their own. */
export function withServer(command: Command): Command {
  const option = (flags: string, about: string) => new Option(flags, about).helpGroup('Server:')
  return command
    .addOption(option('--url <url>', 'Address of the server (AFFIDAVIT_URL, else http://127.0.0.1:4100)'))
    .addOption(option('--key <key>', "API key (AFFIDAVIT_KEY, else this machine's operator.key)"))
}

/** A sequence number as an option's value. */
export function parseSeq(text: string): number {
  const seq = Number(text)
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(seq))
    throw new InvalidArgumentError('A sequence number is expected: 0, 1, 2 …')
  return seq
}

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value]
}
