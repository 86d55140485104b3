import t from 'tap'
import { Type } from '@sinclair/typebox'
import { MAX_PARAMETERS, QueryStrings } from '../../src/http/parsers.js'

const queries = new QueryStrings()
const querystring = Type.Object({ resource_name: Type.String(), lock_id: Type.Optional(Type.Integer()), limit: Type.Optional(Type.Integer()), wait_seconds: Type.Number() })
queries.learn({ url: '/locks/status', schema: { querystring } })
const parsed = (text: string) => ({ ...queries.parse(text) })

void t.test('names and values are decoded as a form would encode them', (t) => {
  t.strictSame(parsed(''), {})
  t.strictSame(parsed('&&'), {})
  t.strictSame(parsed('a=1&b=two+words&c=%26%3D%3F%25'), { a: '1', b: 'two words', c: '&=?%' })
  t.strictSame(parsed('a+b=%2B&%C3%BC=%F0%9F%98%80'), { 'a b': '+', 'ü': '😀' })
  t.strictSame(parsed('a=b=c&d&e='), { a: 'b=c', d: '', e: '' })
  t.end()
})

void t.test('a parameter that is given more than once becomes a list', (t) => {
  t.strictSame(parsed('a=1&a=2&a=&b=x'), { a: ['1', '2', ''], b: 'x' })
  t.strictSame(parsed('limit=1&limit=x'), { limit: [1, 'x'] })
  t.end()
})

void t.test('no more parameters are read than any call has, so that many cost no more than the text is long', (t) => {
  t.strictSame(parsed('a&'.repeat(7500)), { a: Array<string>(MAX_PARAMETERS).fill('') })
  t.strictSame(parsed(`${'&'.repeat(8000)}a=1`), { a: '1' })
  t.equal(Object.keys(parsed(Array.from({ length: 7500 }, (_, index) => index).join('&'))).length, MAX_PARAMETERS)
  t.end()
})

void t.test('only a plain whole number of a numeric parameter is read as a number', (t) => {
  t.strictSame(parsed('limit=30&lock_id=0&resource_name=30'), { limit: 30, lock_id: 0, resource_name: '30' })
  for (const text of ['', '-1', '+1', '01', '1.0', '1e3', '0x1', '1_0', ' 1', 'NaN', 'true', '12345678901234567']) {
    t.strictSame(parsed(`limit=${encodeURIComponent(text)}`), { limit: text })
  }
  t.end()
})

void t.test('a number that need not be whole may have thousandths', (t) => {
  t.strictSame(parsed('wait_seconds=0&limit=2'), { wait_seconds: 0, limit: 2 })
  t.strictSame(parsed('wait_seconds=1.125'), { wait_seconds: 1.125 })
  for (const text of ['1.1250', '.5', '1.', '1e3', '-1', '12345678901']) t.strictSame(parsed(`wait_seconds=${text}`), { wait_seconds: text })
  t.end()
})

void t.test('a parameter is of one type in all calls', (t) => {
  queries.learn({ url: '/locks/history', schema: { querystring: Type.Object({ limit: Type.Integer({ maximum: 7 }) }) } })
  queries.learn({ url: '/locks/stats' })
  const learn = () => queries.learn({ url: '/locks/new', schema: { querystring: Type.Object({ limit: Type.String() }) } })
  t.throws(learn, { message: "The query parameter 'limit' of /locks/new is string, and integer elsewhere" })
  t.end()
})

void t.test('bytes that are no UTF-8 become a text that no name may be', (t) => {
  for (const bytes of ['%ff', '%ED%A0%80', 'a%C0%80b', '%F0%9F', '%', '%g0']) {
    const { name } = parsed(`name=${bytes}`)
    t.notOk(typeof name === 'string' && name.isWellFormed(), bytes)
  }
  t.end()
})

void t.test('the names of what every object has are ordinary names', (t) => {
  const query = queries.parse('__proto__=x&constructor=y&hasOwnProperty=z')
  t.equal(Object.getPrototypeOf(query), null)
  t.strictSame(Object.entries(query), [['__proto__', 'x'], ['constructor', 'y'], ['hasOwnProperty', 'z']])
  t.end()
})
