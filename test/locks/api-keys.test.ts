import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { allows, digestOf, faultOfKeyName, newSecret, SCOPES, ApiKeyCache, REFRESH_MS } from '../../src/locks/api-keys.js'
import { besideService, freshDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { newKey } from '../support/app.js'
import { openOn } from '../support/store.js'

void t.test('a secret is 256 random bits behind a beginning that says what it is', (t) => {
  const secrets = Array.from({ length: 100 }, newSecret)
  t.equal(new Set(secrets).size, 100)
  for (const secret of secrets) t.match(secret, /^rlm_[A-Za-z0-9_-]{43}$/)
  t.equal(digestOf('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  t.end()
})

void t.test('admin includes the other scopes, which include nothing but themselves', (t) => {
  t.strictSame(
    SCOPES.map((scope) => SCOPES.filter((needed) => allows({ scopes: [scope] }, needed))),
    [['read'], ['write'], ['read', 'write', 'admin']]
  )
  t.end()
})

void t.test('the name of a key is never a number', (t) => {
  for (const good of ['a', 'worker-7', 'CI.nightly_2', `a${'b'.repeat(63)}`]) t.equal(faultOfKeyName(good), undefined, good)
  for (const bad of ['', '7', '7a', '-a', 'a b', 'a\n', 'ä', `a${'b'.repeat(64)}`]) t.match(faultOfKeyName(bad), /should begin with a letter/, bad)
  t.end()
})

void t.test('the cache learns by itself which keys were made and revoked, and tells those who rely on a key', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using store = await openOn(database)
  await using ring = new ApiKeyCache(store.keys, { onError: (error) => t.fail(String(error)) })
  await ring.refresh()
  ring.start()
  const [first, second] = [newKey('first'), newKey('second', { scopes: ['admin'], prefix: 'a' })]
  const { id } = await store.keys.create(first)
  const found = await eventually('it was read', () => Promise.resolve(ring.find(first.secret)))
  t.match(found, { id, name: 'first', scopes: ['read', 'write'], prefix: '', ended: { aborted: false } })
  t.equal(ring.keysExist, true)
  await store.keys.create(second)
  await eventually('it was read too', () => Promise.resolve(ring.find(second.secret)))
  t.equal(ring.find(first.secret), found, 'the same as before')
  await store.keys.revoke(id)
  await eventually('it has ended', () => Promise.resolve(found.ended.aborted ? true : undefined))
  t.equal(ring.find(first.secret), undefined)
  t.match(ring.find(second.secret), { ended: { aborted: false } })
})

void t.test('what somebody changes of a key beside the service ends it as it was', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using store = await openOn(database)
  await using ring = new ApiKeyCache(store.keys, { onError: () => undefined })
  const key = newKey('a')
  await store.keys.create(key)
  await ring.refresh()
  const before = ring.find(key.secret)
  await besideService(database, "update api_keys set scopes = 'read'")
  await ring.refresh()
  t.match([before?.ended.aborted, ring.find(key.secret)?.scopes], [true, ['read']])
  await besideService(database, 'delete from api_keys')
  await ring.refresh()
  t.match([ring.find(key.secret), ring.keysExist], [undefined, false], 'an operator may start anew')
})

void t.test('while the database is away the last keys hold, and that is told once', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using store = await openOn(database)
  const errors: unknown[] = []
  await using ring = new ApiKeyCache(store.keys, { onError: (error) => errors.push(error) })
  const key = newKey('a')
  await store.keys.create(key)
  await ring.refresh()
  await besideService(database, 'alter table api_keys rename to elsewhere')
  ring.start()
  await eventually('it has tried', () => Promise.resolve(errors[0]))
  // And tries again meanwhile.
  await sleep(1.5 * REFRESH_MS)
  t.match(ring.find(key.secret), { name: 'a' })
  await besideService(database, 'alter table elsewhere rename to api_keys; update api_keys set revoked_at = 1')
  await eventually('it recovers by itself', () => Promise.resolve(ring.find(key.secret) === undefined ? true : undefined))
  t.equal(errors.length, 1)
})
