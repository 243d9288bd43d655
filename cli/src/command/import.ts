/** `affidavit import`: wires the importers (../import) to the command line. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { endpoint, type ServerOptions } from '../config.ts'
import { Failure, reasonOf } from '../failure.ts'
import { print, printable, printJson, type Terminal } from '../terminal.ts'
import { type Define, withServer } from './define.ts'

interface Options extends ServerOptions {
  readonly format: string
  readonly tenant?: string
  readonly map?: string
  readonly mergeCopies?: boolean
  readonly json?: boolean
}

const formatNames = 'cloudtrail, okta, github, auth0, slack, gsuite, azure, ndjson, csv'

export const importing: Define = (parent, terminal, done) => {
  const command = parent
    .command('import <file>')
    .summary('Import a file of another audit log')
    .description(
      'Import a file of another audit log; - reads standard input, gzip is unpacked. The same file can ' +
        'be imported again: what is stored already is not stored twice. Each bad record is named with its place.',
    )
    .requiredOption('--format <format>', `What the file is: ${formatNames}`)
    .option('--tenant <id>', 'Tenant of the events (default: that of the key)')
    .option('--map <map>', 'For csv: event field = column, for example actor.id=user,action=event')
    .option('--merge-copies', 'Make a record that stands in the file twice, under one id, one event instead of two')
    .option('--json', 'Print the result as JSON, with the number of records per action')
  withServer(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit import --format cloudtrail events.json.gz --tenant org_1',
        '  zcat old.csv.gz | affidavit import --format csv - --tenant org_1 --map actor.id=user,action=what,occurred_at=when',
        '',
        'Exit codes: 0 every record is stored, 1 some were rejected or the import stopped, 2 it could not begin',
      ].join('\n'),
    )
    .action(async (file: string, options: Options) => done(await runImportCommand(file, options, terminal)))
}

async function runImportCommand(file: string, options: Options, terminal: Terminal): Promise<number> {
  const { formats, parseFieldMap, runImport, progressLine, describePlace, describeSummary, exitCode } = await import(
    '../import/index.ts'
  )
  const { createAffidavit } = await import('@affidavit/sdk')
  const format = formats.get(options.format)
  if (format === undefined)
    throw new Failure(
      `There is no format ${JSON.stringify(options.format)}. Known are ${[...formats.keys()].join(', ')}.`,
    )
  if (options.map !== undefined && format.name !== 'csv') throw new Failure('--map is for --format csv.')
  const map = options.map === undefined ? undefined : fieldMap(options.map, parseFieldMap)
  const size = file === '-' ? undefined : await sizeOf(file)
  const client = createAffidavit({ ...endpoint(options, terminal.environment), flushBeforeExit: false })
  const bar = progressLine(terminal.stderr, size)
  const name = file === '-' ? 'standard input' : file
  const summary = await runImport({
    format,
    input: file === '-' ? terminal.stdin : createReadStream(file),
    client,
    tenant: options.tenant,
    map,
    keepCopies: options.mergeCopies !== true,
    onBad: ({ place, reason }) => {
      bar.clear()
      terminal.stderr.write(`${name}: ${describePlace(place)}: ${printable(reason)}\n`)
    },
    onProgress: (progress) => bar.update(progress),
  })
  bar.clear()
  if (options.json) {
    const { actions, stopped, elapsedMs, ...counts } = summary
    const end = stopped === undefined ? {} : { stopped: { code: stopped.code, detail: stopped.message } }
    printJson(terminal, { ...counts, elapsed_ms: Math.round(elapsedMs), actions: Object.fromEntries(actions), ...end })
  } else print(terminal, describeSummary(summary))
  return exitCode(summary)
}

function fieldMap(text: string, parse: (text: string) => Record<string, string>): Record<string, string> {
  try {
    return parse(text)
  } catch (error) {
    if (error instanceof TypeError) throw new Failure(`--map: ${error.message}`, 2, { cause: error })
    throw error
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    const found = await stat(file)
    if (found.isDirectory()) throw new Failure(`${file} is a folder. Import its files one after the other.`)
    return found.size
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(`${file} cannot be read: ${reasonOf(error)}.`, 2, { cause: error })
  }
}
