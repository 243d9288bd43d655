/** `affidavit verify`: checks a pack or a running server's trail. */
import { InvalidArgumentError } from 'commander'
import { DURATION_EXPECTED, parseDuration } from '../verify/brought/duration.ts'
import type { VerifyArguments } from '../verify/run.ts'
import { collect, type Define } from './define.ts'

export const verify: Define = (parent, terminal, done) => {
  parent
    .command('verify')
    .argument('<pack file | URL>')
    .summary("Check a pack offline, or a running server's trail")
    .description(
      'Check a pack file offline, or the trail of a running server. Everything is recomputed here; nothing the party under ' +
        'check says is believed. What you bring from outside (a key, a checkpoint kept earlier, witnesses) turns "agrees ' +
        'with itself" into "is what was sealed". A .tlog-proof file and an accusation are judged, too.',
    )
    .optionsGroup('Bring from outside:')
    .option(
      '--vkey <vkey>',
      'Verifier key of the log that must have signed, from a contract or set-up link; repeat for more',
      collect,
    )
    .option(
      '--checkpoint <file>',
      "Checkpoint kept earlier, or a colleague's, or their state file: the log must have grown from it; repeat for more",
      collect,
    )
    .option(
      '--state <file>',
      'Keep the newest verified checkpoint and key of each trail in this file, and compare with it',
    )
    .option(
      '--policy <file>',
      'Witnesses and the quorum of them that must have cosigned the registry (C2SP tlog-policy)',
    )
    .option('--witness <vkey>', 'Instead of a policy: a witness that must have cosigned; repeat for more', collect)
    .option('--quorum <n>', 'How many of the witnesses are enough (default: all)', positive)
    .option(
      '--tsa-ca <file>',
      'Certificates (PEM) of timestamp authorities, or of those who certify them: theirs count; repeat for more',
      collect,
    )
    .option(
      '--max-age <duration>',
      'How old the newest epoch and its cosignatures may be, as 90s, 15m, 2h, 1d (default: 1h); in a pack, how much older ' +
        'than its last entry',
      duration,
    )
    .optionsGroup('For a server:')
    .option('--tenant <id>', 'Tenant, unless the URL ends in /v1/trails/<tenant>')
    .option(
      '--key <key>',
      "API key with the scopes verify and events:read (AFFIDAVIT_KEY, else this machine's operator.key)",
    )
    .option('--deep', 'Also compare what each filter of the search returns with the sealed facts')
    .option(
      '--deep-values <n>',
      'Compare at most so many values of each field (default: all; of metadata, words and ids 100)',
      positive,
    )
    .option(
      '--accusation <file>',
      'If the log has signed two things that cannot both be true, write the proof here (default: beside --state)',
    )
    .optionsGroup('For a proof of one entry (.tlog-proof file):')
    .option('--hash <hex>', 'The entry: its `hash` in the API')
    .optionsGroup('Output:')
    .option('--json', 'Print the report as JSON')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  affidavit verify org_1.affidavit.zip --vkey "$(cat contract/vkey.txt)"',
        '  affidavit verify https://audit.example.com --tenant org_1 --state ~/.affidavit-state.json',
        '  affidavit verify http://127.0.0.1:4100/v1/trails/org_1 --deep --json',
        '',
        'Exit codes:',
        '  0  all held',
        '  1  evidence of tampering; each finding is named with its seq, the first wrong one first',
        '  2  could not be checked: malformed, unreachable, of an unknown version',
      ].join('\n'),
    )
    .action(async (subject: string, options: VerifyArguments) => {
      const { runVerify } = await import('../verify/run.ts')
      done(await runVerify(subject, options, terminal))
    })
}

/** @returns seconds */
function duration(text: string): number {
  const seconds = parseDuration(text)
  if (seconds === undefined) throw new InvalidArgumentError(DURATION_EXPECTED)
  return seconds
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('A number from 1 is expected.')
  return Number(text)
}
