import t from 'tap'
import { fromCursor, toCursor } from '../../src/http/cursor.js'

const encoded = (...bytes: number[]) => Buffer.from(bytes).toString('base64url')

void t.test('a cursor leads back to the name it was made from', (t) => {
  for (const name of ['a', 'two words', 'ü', '😀', 'x'.repeat(255), '?&=+/%']) {
    t.match(toCursor(name), /^[A-Za-z0-9_-]+$/, 'fit for a query as it is')
    t.equal(fromCursor(toCursor(name)), name)
  }
  t.end()
})

void t.test('what is no cursor of ours is undefined', (t) => {
  for (const text of ['', '=', 'YQ==', 'YR', 'a b', '*', 'ü', encoded(0xff), encoded(0xed, 0xa0, 0x80), encoded(0xf0, 0x9f, 0x98)]) {
    t.equal(fromCursor(text), undefined, text)
  }
  t.end()
})

void t.test('a cursor that hides what no name may be is undefined', (t) => {
  for (const name of ['\0', 'a\nb', 'e\u0301', 'x'.repeat(256)]) t.equal(fromCursor(toCursor(name)), undefined, JSON.stringify(name))
  t.end()
})
