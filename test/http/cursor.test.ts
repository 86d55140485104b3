import t from 'tap'
import { eventFromCursor, placeFromCursor, toCursor } from '../../src/http/responses.js'
import { InvalidRequestError } from '../../src/http/errors.js'

const encoded = (...bytes: number[]) => Buffer.from(bytes).toString('base64url')

void t.test('a cursor leads back to the name it was made from', (t) => {
  for (const name of ['a', 'two words', 'ü', '😀', 'x'.repeat(255), '?&=+/%']) {
    t.match(toCursor(name), /^[A-Za-z0-9_-]+$/, 'fit for a query as it is')
    t.same(placeFromCursor(toCursor(`${name}\n42`)), { name, lockId: 42 })
    t.equal(placeFromCursor(toCursor(name)).name, name, 'also one of an earlier version')
  }
  t.end()
})

void t.test('what is no cursor of ours is refused', (t) => {
  for (const text of ['', '=', 'YQ==', 'YR', 'a b', '*', 'ü', encoded(0xff), encoded(0xed, 0xa0, 0x80), encoded(0xf0, 0x9f, 0x98)]) {
    t.throws(() => placeFromCursor(text), InvalidRequestError, text)
    t.throws(() => eventFromCursor(text), InvalidRequestError, text)
  }
  t.end()
})

void t.test('a cursor that hides what no name, or no event, may be is refused', (t) => {
  for (const name of ['\0', 'a\nb', 'e\u0301', 'x'.repeat(256)]) t.throws(() => placeFromCursor(toCursor(name)), InvalidRequestError, JSON.stringify(name))
  for (const id of ['0', '-1', '1.5', '1e3', 'x', '12345678901234567']) t.throws(() => eventFromCursor(toCursor(id)), InvalidRequestError, id)
  t.equal(eventFromCursor(toCursor('42')), 42)
  t.end()
})
