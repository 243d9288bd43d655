/** `affidavit pack`: takes a trail or a part of it home as one file, and verifies it (../pack/take-home.ts). */
import { InvalidArgumentError } from 'commander'
import type { PackOptions } from '../pack/take-home.ts'
import { collect, type Define, parseSeq, withServer } from './define.ts'

export const pack: Define = (parent, terminal, done) => {
  const command = parent
    .command('pack')
    .summary('Fetch a trail, or a range of it, as one evidence pack')
    .description(
      'Fetch an evidence pack: one ZIP file with entries, payloads, checkpoint, hashes and the proof of the registry, ' +
        'which anybody can verify offline. It is verified as soon as it is written.',
    )
    .requiredOption('--tenant <id>', 'Tenant whose trail is wanted')
    .option('--from <seq>', 'First entry (default: the first)', parseSeq)
    .option('--to <seq>', 'The entry after the last one (default: all that the newest checkpoint covers)', parseSeq)
    .option('--since <time>', 'Entries sealed at this ISO 8601 time or later, instead', parseTime)
    .option('--until <time>', 'Entries sealed before this time, instead', parseTime)
    .option('--event <id>', 'Only this event, instead; repeat for more', collect)
    .option('--query <search>', "Only the events that this search finds, instead: as behind '?' of GET /v1/events")
    .option('--trail <id>', 'An earlier trail of the tenant (default: the newest)')
    .option('-o, --output <file>', 'File to write (default: <tenant>.affidavit.zip)')
    .option('--force', 'Replace the file if it exists')
    .option('--restart', 'Begin anew instead of going on with an unfinished download')
    .option('--json', 'Print the verification as JSON')
  withServer(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit pack --tenant org_1',
        '  affidavit pack --tenant org_1 --since 2026-03-01 --until 2026-04-01 -o march.zip',
        "  affidavit pack --tenant org_1 --query 'action=user.role.*&actor=user_42'",
        '',
        'A download that was cut off goes on where it stopped when the same command is given again.',
        '',
        'Exit codes: those of verify, for the file that was written',
      ].join('\n'),
    )
    .action(async (options: PackOptions) => {
      const { takeHome } = await import('../pack/take-home.ts')
      done(await takeHome(options, terminal))
    })
}

function parseTime(text: string): string {
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(Date.parse(text)))
    throw new InvalidArgumentError('A date or time is expected, such as 2026-03-01 or 2026-03-01T18:00:00Z.')
  return text
}
