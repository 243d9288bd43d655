/** The Affidavit SDK: record audit events awaited or in the background, and read them back. */

export type { BatchResult, Rejection } from './batch.ts'
export { Affidavit, type AffidavitOptions, type CallOptions, createAffidavit } from './client.ts'
export type { Confirmation, ReceiptProblem } from './confirm.ts'
export { diff } from './diff.ts'
export type { EmitOptions, EmitStats, RejectedEvent } from './emitter.ts'
export { AffidavitError, type Problem } from './error.ts'
export type {
  Actor,
  AuditEvent,
  Category,
  Change,
  Context,
  JsonValue,
  Outcome,
  Page,
  Receipt,
  Source,
  StoredEvent,
  Target,
} from './event.ts'
export { uuidv7 } from './id.ts'
export type { Filter, PageOptions } from './query.ts'
export type { DroppedRange } from './queue.ts'
export { type FileReceiptOptions, fileReceipts } from './receipt-files.ts'
export { type KeptReceipt, type MemoryReceiptOptions, memoryReceipts, type ReceiptStore } from './receipt-store.ts'
export type { ReceiptOptions } from './receipts.ts'
export type { ShutdownSignal } from './shutdown.ts'
