import { describe, expect, test } from 'vitest'
import { Catalog, type CatalogEntry } from './catalog.ts'
import { categories } from './category.ts'
import { platformPrefix } from './platform-actions.ts'
import { standardCatalog, standardEntries } from './standard-actions.ts'
import { verbOf } from './verbs.ts'
import { categoryOfWords, outcomeOfWords, wordsOf } from './words.ts'

describe('the standard catalog', () => {
  const entries = [...standardEntries()]

  test('has the usual actions of every category, each once', () => {
    expect(new Set(entries.map((entry) => entry.action)).size).toBe(entries.length)
    const own = entries.filter((entry) => !entry.action.startsWith(platformPrefix))
    expect(own.length).toBeGreaterThan(180)
    for (const category of categories) {
      expect(own.filter((entry) => entry.category === category).length, category).toBeGreaterThan(20)
    }
  })

  test('every name is one that a client may send', () => {
    expect(entries.filter(({ action }) => !/^[a-z0-9_]+(?:\.[a-z0-9_]+)*$/.test(action))).toEqual([])
  })

  test('never samples what an investigation needs', () => {
    const sampled = entries.filter((entry) => entry.sampling < 100)
    expect(sampled.length).toBeGreaterThan(0)
    expect(sampled.filter((entry) => entry.category !== 'data_access')).toEqual([])
  })

  test('waits for the receipt of every export', () => {
    const exports = entries.filter(({ action }) => /export/.test(action) && !action.startsWith(platformPrefix))
    expect(exports.map((entry) => entry.capture)).toEqual(exports.map(() => 'await'))
  })
})

describe('a catalog', () => {
  const entry: CatalogEntry = {
    action: 'user.login',
    version: 7,
    category: 'billing',
    sentence: '<paid|pay>',
    sampling: 1,
    capture: 'background',
    personal: ['/metadata/card'],
    confidential: [],
  }

  test('takes the later of two entries', () => {
    expect(new Catalog([...standardCatalog().list(), entry]).resolve('user.login')).toBe(entry)
  })

  test('derives what nobody registered, with version 0', () => {
    const catalog = new Catalog([])
    expect(catalog.find('invoice.archived')).toBeUndefined()
    expect(catalog.resolve('invoice.archived')).toMatchObject({ version: 0, category: 'billing', sampling: 100 })
    expect(catalog.resolve('invoice.archived')).toBe(catalog.resolve('invoice.archived'))
  })

  test('stays small under hostile names', () => {
    const catalog = new Catalog([])
    const first = catalog.resolve('a.b0')
    for (let i = 1; i <= 10_000; i++) catalog.resolve(`a.b${i}`)
    expect(catalog.resolve('a.b0')).not.toBe(first)
    expect(catalog.resolve('a.b0')).toEqual(first)
    expect(new Catalog([]).resolve('constructor')).toMatchObject({ action: 'constructor', version: 0 })
    expect(new Catalog([]).resolve('__proto__')).toMatchObject({ action: '__proto__', version: 0 })
  })
})

test.each([
  ['user.role_updated', [['user'], ['role', 'updated']]],
  ['s3.GetObject', [['s3'], ['get', 'object']]],
  ['KMSDecrypt', [['kms', 'decrypt']]],
  ['a-b:c/d..e_', [['a', 'b'], ['c'], ['d'], ['e']]],
  ['...', []],
])('the words of %s', (action, words) => expect(wordsOf(action)).toEqual(words))

test.each([
  [
    'authentication',
    'login user.login sso_login user.sign_in UserLoggedIn password.changed mfa.enrolled session.start',
  ],
  [
    'authorization',
    'access_denied role.assigned user.permission.updated grant_access access.revoked unauthorized iam.AssumeRole',
  ],
  [
    'data_access',
    'resource_access data_export invoice.download role.viewed read_document s3.GetObject ListBuckets report.print',
  ],
  ['billing', 'invoice.archived payment.failed subscription.paused card.added'],
  ['administration', 'webhook.paused settings.changed org.retention.set api_key.rolled'],
])('%s: %s', (category, actions) => {
  for (const action of actions.split(' ')) expect(categoryOfWords(action), action).toBe(category)
})

test('words that say nothing give no category', () => {
  for (const action of ['document.updated', 'x', '...', 'user.update']) expect(categoryOfWords(action)).toBeUndefined()
})

test.each([
  ['failure', 'login_failed user.login.failed failed_login authentication_failure payment.error'],
  ['denied', 'access_denied authorization_failure authorization.failed request.forbidden resource.unauthorized'],
  [undefined, 'user.login failed_jobs.retried failover.started error.resolved denied_hosts.updated user.blocked'],
])('%s: %s', (outcome, actions) => {
  for (const action of actions.split(' ')) expect(outcomeOfWords(action), action).toBe(outcome)
})

test.each([
  ['created', 'created', 'create'],
  ['create', 'created', 'create'],
  ['creates', 'created', 'create'],
  ['copy', 'copied', 'copy'],
  ['copies', 'copied', 'copy'],
  ['applied', 'applied', 'apply'],
  ['deploy', 'deployed', 'deploy'],
  ['submit', 'submitted', 'submit'],
  ['write', 'wrote', 'write'],
  ['written', 'wrote', 'write'],
  ['reset', 'reset', 'reset'],
  ['get', 'retrieved', 'retrieve'],
  ['deletion', 'deleted', 'delete'],
  ['canceled', 'cancelled', 'cancel'],
  ['pushes', 'pushed', 'push'],
  ['frobnicated', 'frobnicated', 'frobnicate'],
  ['defenestrate', 'defenestrated', 'defenestrate'],
  ['vilified', 'vilified', 'vilify'],
  ['blorped', 'blorped', 'blorp'],
])('%s: %s, to %s', (word, past, base) => expect(verbOf(word)).toEqual({ past, base }))

test('other words are no verbs', () => {
  for (const word of ['document', 'settings', 'user', 'seed', 'red', 'feed', 'constructor', '']) {
    expect(verbOf(word), word).toBeUndefined()
  }
})
