/** What page and worker say to each other. */
import type { Verification } from '@affidavit/trail'

/** From the page: check this file, held against what the visitor brought. */
export interface Request {
  readonly file: File
  /** Texts as they were typed or read from files. */
  readonly vkeys: string
  readonly checkpoint: string
  readonly policy: string
  /** Certificates of timestamp authorities, PEM. */
  readonly authorities: string
}

/** What is in the pack. */
export interface Subject {
  readonly origin: string
  readonly size: number
  readonly covered: number
  readonly ranges: readonly { readonly from: number; readonly to: number }[]
  /** Hex; undefined where the checkpoint cannot be read. */
  readonly root?: string
  /** What the pack says its keys are, the first few lines of it. */
  readonly vkeys: readonly string[]
}

/** From the worker. */
export type Message =
  | { readonly kind: 'progress'; readonly done: number; readonly of: number }
  | { readonly kind: 'verified'; readonly verification: Verification; readonly subject: Subject; readonly ms: number }
  /** The file, or what was brought, could not be read; nothing is said about the log. */
  | { readonly kind: 'refused'; readonly about: 'file' | 'brought' | 'browser'; readonly message: string }
