/** `affidavit import` as functions: the command line only parses its arguments and calls these. */

export { parseFieldMap } from './format/csv.ts'
export { formats } from './formats.ts'
export { describePlace } from './item.ts'
export { describeSummary, exitCode, progressLine } from './progress.ts'
export { runImport } from './run.ts'
