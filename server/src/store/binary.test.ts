// Everything that the encoder writes is read back by PostgreSQL itself.
import fc from 'fast-check'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, type TestDatabase } from '../../test/database.ts'
import { ArrayParameter, oid, RowsParameter } from './binary.ts'
import { rowType } from './row-type.ts'

let database: TestDatabase
let client: pg.Client
beforeAll(async () => {
  database = await freshDatabase({ empty: true })
  client = database.superuser
  await client.query(`create type public.sample as (
    a smallint, b int, c bigint, e timestamptz, f bytea, g uuid, h bytea, i text, j int[])`)
})
afterAll(() => database.drop())

const runs = { numRuns: process.env.AFFIDAVIT_LONG ? 1000 : 150 }

const int2 = fc.integer({ min: -32768, max: 32767 })
const int4 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
const safe = fc.maxSafeInteger()
// PostgreSQL's years; fast-check's own dates reach the edges of JavaScript's.
const ms = fc.integer({ min: Date.UTC(-4000, 0, 1), max: Date.UTC(275000, 0, 1) })
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const anyBytes = fc.uint8Array({ maxLength: 200 })
const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' })).map((s) => s.replaceAll('\0', ''))
const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 4 })

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex')
const utf8 = (value: string) => Buffer.from(value).toString() // lone surrogates become U+FFFD
const printed = <T, R>(value: T | null, print: (value: T) => R) => (value === null ? null : print(value))

/** Encoder method, SQL cast and how PostgreSQL prints the value so that both sides compare as text. */
interface Kind {
  type: number
  array: string
  element: string
  value: fc.Arbitrary<unknown>
  put(parameter: ArrayParameter | RowsParameter, value: never): void
  print(value: never): unknown
}

const epoch = (element: string) => `(extract(epoch from ${element}) * 1000)::bigint::text`
const kinds: Record<string, Kind> = {
  int2: { type: oid.int2, array: 'int2[]', element: 'x::text', value: int2, put: (p, v) => p.int2(v), print: String },
  int4: { type: oid.int4, array: 'int4[]', element: 'x::text', value: int4, put: (p, v) => p.int4(v), print: String },
  int8: { type: oid.int8, array: 'int8[]', element: 'x::text', value: safe, put: (p, v) => p.int8(v), print: String },
  int8Latin1: {
    type: oid.int8,
    array: 'int8[]',
    element: 'x::text',
    value: bytes(8),
    put: (p, v: Uint8Array | null) => p.int8Latin1(v && Buffer.from(v).toString('latin1')),
    print: (v: Uint8Array) => String(Buffer.from(v).readBigInt64BE()),
  },
  timestamptz: {
    type: oid.timestamptz,
    array: 'timestamptz[]',
    element: epoch('x'),
    value: ms,
    put: (p, v) => p.timestamptz(v),
    print: String,
  },
  uuid: {
    type: oid.uuid,
    array: 'uuid[]',
    element: "replace(x::text, '-', '')",
    value: bytes(16),
    put: (p, v) => p.uuid(v),
    print: hex,
  },
  uuidLatin1: {
    type: oid.uuid,
    array: 'uuid[]',
    element: "replace(x::text, '-', '')",
    value: bytes(16),
    put: (p, v: Uint8Array | null) => p.uuidLatin1(v && Buffer.from(v).toString('latin1')),
    print: hex,
  },
  byteaStart: {
    type: oid.bytea,
    array: 'bytea[]',
    element: "encode(x, 'hex')",
    value: anyBytes,
    put: (p, v: Uint8Array | null) => p.bytea(v && Buffer.concat([v, Buffer.of(7)]), v?.length ?? 0),
    print: hex,
  },
  bytea: {
    type: oid.bytea,
    array: 'bytea[]',
    element: "encode(x, 'hex')",
    value: anyBytes,
    put: (p, v) => p.bytea(v),
    print: hex,
  },
  text: { type: oid.text, array: 'text[]', element: 'x', value: text, put: (p, v) => p.text(v), print: utf8 },
  utf8: {
    type: oid.text,
    array: 'text[]',
    element: 'x',
    value: text,
    put: (p, v: string | null) => p.text(v === null ? null : Buffer.from(v)),
    print: utf8,
  },
}

test.each(Object.entries(kinds))('%s arrays arrive as they were', async (_name, kind) => {
  const parameter = new ArrayParameter(kind.type, 32) // small, so that it has to grow
  await fc.assert(
    fc.asyncProperty(fc.array(orNull(kind.value), { maxLength: 40 }), async (values) => {
      parameter.reset()
      for (const value of values) kind.put(parameter, value as never)
      expect(parameter.count).toBe(values.length)
      const { rows } = await client.query(
        `select ${kind.element} as x from unnest($1::${kind.array}) with ordinality as u (x, n) order by n`,
        [parameter.finish()],
      )
      expect(rows.map(({ x }) => x)).toEqual(
        values.map((value) => printed(value, kind.print as (value: unknown) => unknown)),
      )
    }),
    runs,
  )
})

const row = fc.record({
  a: orNull(int2),
  b: orNull(int4),
  c: orNull(safe),
  e: orNull(ms),
  f: bytes(32).map((hash) => Buffer.from(hash).toString('base64')),
  g: orNull(bytes(16)),
  h: orNull(anyBytes),
  i: orNull(text),
  j: fc.array(int4, { maxLength: 64 }),
})

test('rows arrive as they were, nested arrays included', async () => {
  const parameter = new RowsParameter(await rowType(client, 'public.sample'), 64)
  await fc.assert(
    fc.asyncProperty(fc.array(row, { maxLength: 12 }), async (values) => {
      parameter.reset()
      for (const value of values) {
        parameter.row()
        parameter.int2(value.a)
        parameter.int4(value.b)
        parameter.int8(value.c)
        parameter.timestamptz(value.e)
        parameter.hash(value.f)
        parameter.uuid(value.g)
        parameter.bytea(value.h)
        parameter.text(value.i)
        parameter.int4Array(Int32Array.of(...value.j, 7), value.j.length)
      }
      const { rows } = await client.query(
        `select a::text, b::text, c::text, ${epoch('e')} as e, encode(f, 'base64') as f,
                replace(g::text, '-', '') as g, encode(h, 'hex') as h, i, j
           from unnest($1::public.sample[]) with ordinality as u (a, b, c, e, f, g, h, i, j, n) order by n`,
        [parameter.finish()],
      )
      expect(rows).toEqual(
        values.map(({ a, b, c, e, f, g, h, i, j }) => ({
          a: printed(a, String),
          b: printed(b, String),
          c: printed(c, String),
          e: printed(e, String),
          f,
          g: printed(g, hex),
          h: printed(h, hex),
          i: printed(i, utf8),
          j,
        })),
      )
    }),
    runs,
  )
})

test('what a type cannot hold is refused', () => {
  const refused: [number, (parameter: ArrayParameter) => void][] = [
    [oid.int2, (p) => p.int2(32768)],
    [oid.int4, (p) => p.int4(2 ** 31)],
    [oid.int4, (p) => p.int4(1.5)],
    [oid.int8, (p) => p.int8(2 ** 53)],
    [oid.timestamptz, (p) => p.timestamptz(Number.NaN)],
    [oid.timestamptz, (p) => p.timestamptz(0.5)],
    [oid.int8, (p) => p.int8Latin1('x'.repeat(16))],
    [oid.uuid, (p) => p.uuidLatin1('x'.repeat(15))],
    [oid.uuid, (p) => p.uuid(new Uint8Array(15))],
  ]
  for (const [type, put] of refused) expect(() => put(new ArrayParameter(type))).toThrow(RangeError)
})

test('a value of another type, and a row with a column too few or too many, are refused', async () => {
  expect(() => new ArrayParameter(oid.int8).int4(1)).toThrow(TypeError)
  await client.query('create type public.pair as (a int, b text)')
  const rows = new RowsParameter(await rowType(client, 'public.pair'))
  rows.row()
  rows.int4(1)
  expect(() => rows.finish()).toThrow('1 columns instead of 2')
  expect(() => rows.int4(2)).toThrow(TypeError)
  rows.reset().row()
  rows.int4(1)
  rows.text('x')
  expect(() => rows.text('y')).toThrow(TypeError)
  await expect(rowType(client, 'bigint')).rejects.toThrow('no composite type')
})
