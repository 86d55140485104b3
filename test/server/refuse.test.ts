import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { refused } from '../support/program.js'

const withUrl = (url: string) => ({ settings: { DATABASE_URL: url } })

void t.test('a database URL with another scheme, or with none', async (t) => {
  const said = await refused(
    t,
    'server',
    withUrl('mysql://root:hunter2@127.0.0.1/locks'),
    /DATABASE_URL has the scheme 'mysql'; expected sqlite:.* or postgres:/
  )
  t.notMatch(said, 'hunter2')
  await refused(t, 'migrate', withUrl('./locks.db'), /DATABASE_URL has no scheme/)
  await refused(t, 'server', withUrl('postgres://u:hunter2@:x/y'), /not a well-formed PostgreSQL URL/)
})

void t.test('a setting that cannot be meant', async (t) => {
  await refused(t, 'server', { settings: { PORT: '80OO' } }, /PORT is '80OO'; expected a port number/)
})

void t.test('an address that others can reach, unless that is meant', async (t) => {
  await refused(t, 'server', { settings: { HOST: '0.0.0.0', PORT: '0' } }, /HOST is '0\.0\.0\.0', which other machines can reach.*ALLOW_ANONYMOUS=true/)
})

void t.test('a port that is in use', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  try {
    await refused(t, 'server', { settings: { PORT: String(port) } }, new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is in use`))
  } finally {
    other.close()
  }
})
