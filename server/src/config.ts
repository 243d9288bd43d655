// The one place that reads the environment. Every setting has a default that is safe and useful; a wrong one stops the
// start with a sentence, before anything is opened. docs/reference/configuration.md is generated from this table.
import { resolve } from 'node:path'

interface Setting<Value, Fallback extends string | undefined> {
  readonly default: Fallback
  readonly about: string
  readonly parse: (text: string) => Value
}

class ConfigError extends Error {}

const text = (value: string): string => value
const wholeNumber =
  (from: number, to: number) =>
  (value: string): number => {
    const number = Number(value)
    if (!/^\d+$/.test(value) || number < from || number > to)
      throw new ConfigError(`a whole number from ${from} to ${to}`)
    return number
  }
const oneOf =
  <const T extends string>(...values: readonly T[]) =>
  (value: string): T => {
    if (!(values as readonly string[]).includes(value)) throw new ConfigError(`one of ${values.join(', ')}`)
    return value as T
  }
const databaseUrl = (value: string): string => {
  if (!/^postgres(ql)?:\/\//.test(value) || !URL.canParse(value))
    throw new ConfigError('a URL like postgres://user:password@host:5432/affidavit')
  return value
}
const logNamePattern = /^[a-z0-9.-]{1,100}(\/[a-z0-9._-]{1,50})?$/
const logName = (value: string): string => {
  if (!logNamePattern.test(value)) throw new ConfigError('a name like audit.example.com or audit.example.com/eu')
  return value
}
const rootKey = (value: string): string => {
  if (!/^[0-9a-f]{64}$/i.test(value) && Buffer.from(value, 'base64').length !== 32)
    throw new ConfigError('32 bytes as 64 hex digits or base64')
  return value
}

const kmsKey =
  /^(arn:[\w-]+:kms:[\w-]+:\d{12}:(key|alias)\/[\w/-]{1,256}|alias\/[\w/-]{1,250}|(mrk-)?[0-9a-f-]{32,36})$/
const kmsKeys = (value: string): readonly string[] => {
  const keys = value.split(',').map((key) => key.trim())
  if (!keys.every((key) => kmsKey.test(key)))
    throw new ConfigError('a key id, an alias like alias/affidavit or an ARN, or several of them with commas between')
  return keys
}
const httpUrl = (value: string): string => {
  if (!/^https?:\/\//.test(value) || !URL.canParse(value)) throw new ConfigError('a URL like https://kms.example.com')
  return value
}

/** A bucket's address is checked when it is opened. */
const objectsPlace = (value: string): string => (/^s3:/i.test(value) ? value : resolve(value))

const setting = <Value, Fallback extends string | undefined>(
  parse: (text: string) => Value,
  fallback: Fallback,
  about: string,
): Setting<Value, Fallback> => ({
  default: fallback,
  about,
  parse,
})

export const settings = {
  HOST: setting(text, '127.0.0.1', 'Address to listen on. Put a TLS proxy in front before you open it to a network.'),
  PORT: setting(wholeNumber(0, 65_535), '4100', 'Port to listen on; 0 picks a free one.'),
  AFFIDAVIT_DATA_DIR: setting(
    (value) => resolve(value),
    './data',
    'Folder for the embedded database, keys, objects and the operator key.',
  ),
  DATABASE_URL: setting(
    databaseUrl,
    undefined,
    'PostgreSQL 15 or newer. Without it the embedded PostgreSQL 18 is started in the data folder.',
  ),
  AFFIDAVIT_KEYS_DIR: setting(
    (value) => resolve(value),
    undefined,
    'Folder of the keys that live outside the database. Default: `keys` in the data folder. All processes on one database share it.',
  ),
  AFFIDAVIT_OBJECTS: setting(
    objectsPlace,
    undefined,
    'Where epoch objects and archives are kept: a folder, or a bucket as `s3://bucket/prefix?region=…`, with `&endpoint=…` for another server than Amazon. Credentials as the AWS SDK finds them. Default: `objects` in the data folder.',
  ),
  AFFIDAVIT_WITNESS_POLICY: setting(
    (value) => resolve(value),
    undefined,
    'File with the witnesses that cosign the registry and the quorum of them (C2SP tlog-policy). Without it nobody outside vouches for the log.',
  ),
  AFFIDAVIT_ANCHORS: setting(
    (value) => resolve(value),
    undefined,
    'JSON file with further places that registry checkpoints are copied to: buckets, timestamp authorities, mailboxes, webhooks.',
  ),
  AFFIDAVIT_ROOT_KEY: setting(
    rootKey,
    undefined,
    'Root key, 32 bytes as hex or base64, instead of the file root.key in the keys folder.',
  ),
  AFFIDAVIT_KMS_KEY: setting(
    kmsKeys,
    undefined,
    'Key in AWS KMS (id, alias or ARN) that wraps the root key and the generations; then no key in the keys folder opens by itself. More keys after a comma only open what they wrapped before. Credentials as the AWS SDK finds them.',
  ),
  AFFIDAVIT_KMS_REGION: setting(
    text,
    undefined,
    'Region of KMS. Default: that of the ARN, else as the AWS SDK finds it.',
  ),
  AFFIDAVIT_KMS_ENDPOINT: setting(httpUrl, undefined, "Address of KMS, if it is another service than Amazon's."),
  AFFIDAVIT_LOG_NAME: setting(
    logName,
    undefined,
    'Name of the log: the first part of every origin and key name. Fixed at the first start; default affidavit.invalid/<random>.',
  ),
  AFFIDAVIT_OPERATOR_NAME: setting(text, 'Operator', "Your company's name, as tenants see it beside actors of yours."),
  AFFIDAVIT_KEY_ENV: setting(oneOf('live', 'test'), 'live', 'Environment named in API keys: aff_live_… or aff_test_….'),
  AFFIDAVIT_SEAL_CONNECTIONS: setting(
    wholeNumber(1, 16),
    '3',
    'Commits under way at once. More help where the disk is slow and cores are many.',
  ),
  AFFIDAVIT_NOTARY_INTERVAL_MS: setting(
    wholeNumber(50, 600_000),
    '1000',
    'Milliseconds between rounds of the notary: how old a checkpoint may be.',
  ),
  AFFIDAVIT_REGISTRY_INTERVAL_MS: setting(
    wholeNumber(50, 60_000),
    '60000',
    'Milliseconds between epochs of the registry: how soon a checkpoint is bound for everyone to see. What was sealed two minutes before an epoch is always in it.',
  ),
  AFFIDAVIT_ACCEPT_ROLLBACK: setting(
    wholeNumber(1, Number.MAX_SAFE_INTEGER),
    undefined,
    'Start although an anchor knows the registry with this many entries and the database has fewer. Verifiers that saw more will call it tampering.',
  ),
  AFFIDAVIT_WAL_ARCHIVE: setting(
    (value) => resolve(value),
    undefined,
    'Folder to which the embedded database archives its log, on another disk. With it, a backup can be restored to any later time.',
  ),
  AFFIDAVIT_SCRUB_EVENTS: setting(
    wholeNumber(0, 1_000_000),
    '200',
    'Events per second that the scrub reads again and recomputes in the background; 0 turns it off.',
  ),
  AFFIDAVIT_RATE_EVENTS: setting(
    wholeNumber(1, 100_000_000),
    '100000',
    'Events per second that one tenant may send through one process before it gets 429.',
  ),
  AFFIDAVIT_LOG_LEVEL: setting(
    oneOf('debug', 'info', 'warn', 'error', 'silent'),
    'info',
    'How much the process logs to standard error.',
  ),
} as const

type Settings = typeof settings
type Values = {
  [Name in keyof Settings]: Settings[Name] extends Setting<infer Value, infer Fallback>
    ? Fallback extends string
      ? Value
      : Value | undefined
    : never
}

export interface Config {
  readonly host: string
  readonly port: number
  readonly dataDir: string
  /** Undefined: the embedded database. */
  readonly databaseUrl: string | undefined
  readonly keysDir: string
  readonly rootKey: string | undefined
  /** Undefined: keys lie in their folder, without a key management service. */
  readonly kms: { readonly keys: readonly string[]; readonly region?: string; readonly endpoint?: string } | undefined
  /** A folder, or the address of a bucket: what `openObjects` takes. */
  readonly objects: string
  /** Path of the policy file, if there is one. */
  readonly witnessPolicy: string | undefined
  /** Path of the anchors' file, if there is one. */
  readonly anchors: string | undefined
  readonly logName: string | undefined
  readonly operatorName: string
  readonly keyEnv: 'live' | 'test'
  readonly sealConnections: number
  readonly notaryIntervalMs: number
  readonly registryIntervalMs: number
  /** Size of the registry that an anchor knows and that is knowingly given up. */
  readonly acceptRollback: number | undefined
  /** Undefined: the log is not archived. */
  readonly walArchive: string | undefined
  readonly scrubEvents: number
  readonly rateEvents: number
  readonly logLevel: string
}

export type ConfigResult =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problems: readonly string[] }

function kmsOf(v: Values): Config['kms'] {
  if (v.AFFIDAVIT_KMS_KEY === undefined) return undefined
  return {
    keys: v.AFFIDAVIT_KMS_KEY,
    ...(v.AFFIDAVIT_KMS_REGION !== undefined && { region: v.AFFIDAVIT_KMS_REGION }),
    ...(v.AFFIDAVIT_KMS_ENDPOINT !== undefined && { endpoint: v.AFFIDAVIT_KMS_ENDPOINT }),
  }
}

/** Reads all settings; an empty variable counts as absent. */
export function readConfig(environment: Readonly<Record<string, string | undefined>> = process.env): ConfigResult {
  const problems: string[] = []
  const values: Record<string, unknown> = {}
  for (const [name, { default: fallback, parse }] of Object.entries(settings)) {
    const given = environment[name] || fallback
    if (given === undefined) continue
    try {
      values[name] = parse(given)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      // A secret's value must not reach a log.
      const shown = name === 'AFFIDAVIT_ROOT_KEY' || name === 'DATABASE_URL' ? 'its value' : JSON.stringify(given)
      problems.push(`${name}: ${shown} is not ${error.message}.`)
    }
  }
  if (problems.length > 0) return { ok: false, problems }
  const v = values as Values
  const config: Config = {
    host: v.HOST,
    port: v.PORT,
    dataDir: v.AFFIDAVIT_DATA_DIR,
    databaseUrl: v.DATABASE_URL,
    keysDir: v.AFFIDAVIT_KEYS_DIR ?? resolve(v.AFFIDAVIT_DATA_DIR, 'keys'),
    rootKey: v.AFFIDAVIT_ROOT_KEY,
    kms: kmsOf(v),
    objects: v.AFFIDAVIT_OBJECTS ?? resolve(v.AFFIDAVIT_DATA_DIR, 'objects'),
    witnessPolicy: v.AFFIDAVIT_WITNESS_POLICY,
    anchors: v.AFFIDAVIT_ANCHORS,
    logName: v.AFFIDAVIT_LOG_NAME,
    operatorName: v.AFFIDAVIT_OPERATOR_NAME,
    keyEnv: v.AFFIDAVIT_KEY_ENV,
    sealConnections: v.AFFIDAVIT_SEAL_CONNECTIONS,
    notaryIntervalMs: v.AFFIDAVIT_NOTARY_INTERVAL_MS,
    registryIntervalMs: v.AFFIDAVIT_REGISTRY_INTERVAL_MS,
    acceptRollback: v.AFFIDAVIT_ACCEPT_ROLLBACK,
    walArchive: v.AFFIDAVIT_WAL_ARCHIVE,
    scrubEvents: v.AFFIDAVIT_SCRUB_EVENTS,
    rateEvents: v.AFFIDAVIT_RATE_EVENTS,
    logLevel: v.AFFIDAVIT_LOG_LEVEL,
  }
  return { ok: true, config }
}
