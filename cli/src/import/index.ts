/** `affidavit import` as functions: the command line only parses its arguments and calls these. */

export type { ByteSource } from './bytes.ts'
export { parseFieldMap } from './format/csv.ts'
export type { Format, FormatOptions } from './format.ts'
export { formats } from './formats.ts'
export { describePlace, type Item, type Place } from './item.ts'
export { describeSummary, exitCode, type ProgressLine, progressLine } from './progress.ts'
export { type BadRecord, type ImportOptions, type Progress, runImport, type Summary } from './run.ts'
