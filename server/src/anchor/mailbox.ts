// A mailbox: whoever keeps the mail has a copy of the checkpoint with a date that we do not control.
import nodemailer, { type Transporter } from 'nodemailer'
import type { Document, Place, Placed } from './place.ts'
import type { AnchorSettings } from './settings.ts'

type MailboxSettings = Extract<AnchorSettings, { kind: 'mailbox' }>

export class MailboxPlace implements Place {
  readonly name: string
  readonly kind = 'mailbox'
  readonly every_ms: number
  readonly isPublic = false
  readonly #settings: MailboxSettings
  readonly #transport: Transporter

  /** @throws Error when the address of the mail server cannot be used */
  constructor(settings: MailboxSettings) {
    this.name = settings.name
    this.every_ms = settings.every_ms
    this.#settings = settings
    this.#transport = nodemailer.createTransport(transportOptions(settings))
  }

  async place(document: Document): Promise<Placed> {
    const { from, to } = this.#settings
    const { origin, epoch, note } = document
    const { rejected = [] } = await this.#transport.sendMail({
      from,
      to: [...to],
      subject: `Audit log checkpoint: ${origin}, epoch ${epoch}`,
      text: letter(document),
      attachments: [{ filename: `epoch-${epoch}.checkpoint.txt`, content: note, encoding: 'utf8' }],
      disableFileAccess: true,
      disableUrlAccess: true,
      // The same checkpoint once more is the same letter: a mailbox may file it once.
      messageId: `<epoch-${epoch}.${document.size}@${origin.replaceAll(/[^\w.-]/g, '.')}>`,
    })
    if (rejected.length > 0) throw new Error(`the mail server refuses ${rejected.length} of the recipients`)
    return {}
  }

  close(): void {
    this.#transport.close()
  }
}

function transportOptions({ smtp_url, ca }: MailboxSettings) {
  const url = URL.canParse(smtp_url) ? new URL(smtp_url) : undefined
  if (url === undefined || !/^smtps?:$/.test(url.protocol) || url.hostname === '')
    throw new Error('smtp_url must be like smtps://user:password@mail.example.com')
  const secure = url.protocol === 'smtps:'
  const isLocal = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    // A password does not travel in the clear; only a mail server on this machine may do without TLS.
    requireTLS: !secure && !(isLocal && url.username === ''),
    ...(url.username !== '' && {
      auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) },
    }),
    ...(ca !== undefined && { tls: { ca } }),
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 30_000,
  }
}

const letter = ({
  origin,
  epoch,
  size,
  root,
  at_ms,
  note,
}: Document) => `This is a checkpoint of the audit log ${origin}.

  epoch ${epoch} of ${new Date(at_ms).toISOString()}
  ${size} entries, root ${root}

Keep this mail. With it you can prove later that the log was not changed before that time: give the attached file to

  affidavit verify <address of the log> --tenant <your tenant> --checkpoint epoch-${epoch}.checkpoint.txt

or compare root and size with what you are shown then. Nothing needs to be done now.

${note}`
