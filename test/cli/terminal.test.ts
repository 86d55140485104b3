import t from 'tap'
import { eventually } from '../support/eventually.js'
import { Service } from '../support/service.js'
import { Terminal } from '../support/rlm.js'

t.jobs = 3
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const settings = { RLM_URL: service.url }
const ESCAPE = '\u001B'
const waiters = async (name: string): Promise<unknown> => (await service.status(name)).body.data?.['waiters']

void t.test('a long wait shows who holds the lock and the place in line, and then nothing of it is left', async (t) => {
  await service.request('line', 'the holder', { ttl_seconds: 3600 })
  await using first = Terminal.rlm(['run', 'line', '--', 'echo', 'the first ran'], settings)
  await first.until(/waiting for 'line', 1st of 1 in line: held by 'the holder', ends in 59m/)
  await using second = Terminal.rlm(['run', 'line', '--', 'echo', 'the second ran'], settings)
  await second.until(/2nd of 2 in line/)
  second.control('C')
  t.equal(await second.end(), 130, 'a person who has had enough')
  t.notMatch(second.shown, 'ran')
  await eventually('it left the line', async () => (await waiters('line')) === 1 || undefined)
  await service.release('line', 'the holder')
  t.equal(await first.end(), 0)
  t.match(first.shown, /\r.{0,2}\[Kthe first ran\r\n$/s, 'the line was wiped before the command had the terminal')
})

void t.test('the command has the terminal', async (t) => {
  await using terminal = Terminal.rlm(['run', 'tty', '--', 'sh', '-c', 'test -t 0 && test -t 1 && test -t 2 && echo ready && read -r word && echo "got $word"; exit 4'], settings)
  await terminal.until(/ready/)
  terminal.type('a word\n')
  t.equal(await terminal.end(), 4)
  t.match(terminal.shown, 'got a word')
})

void t.test('control C reaches the command and what it started, once', async (t) => {
  const script = `trap 'echo child INT' INT
    sh -c 'trap "echo grandchild INT; exit 0" INT; echo ready; n=0; while [ $n -lt 12000 ]; do sleep 0.05; n=$((n + 1)); done'
    exit 5`
  await using terminal = Terminal.rlm(['run', 'ctrl-c', '--', 'sh', '-c', script], settings)
  await terminal.until(/ready/)
  terminal.control('C')
  t.equal(await terminal.end(), 5)
  t.equal(terminal.shown.match(/\bchild INT/g)?.length, 1)
  t.equal(terminal.shown.match(/grandchild INT/g)?.length, 1)
})

void t.test('colours are for terminals, and NO_COLOR turns them off', async (t) => {
  await service.request('coloured', 'p')
  await using coloured = Terminal.rlm(['ls', 'coloured'], settings)
  await using plain = Terminal.rlm(['ls', 'coloured'], { ...settings, NO_COLOR: '1' })
  t.equal(await coloured.end(), 0)
  t.equal(await plain.end(), 0)
  t.match(coloured.shown, `${ESCAPE}[2mRESOURCE`)
  t.match(plain.shown, /^RESOURCE/)
  t.notMatch(plain.shown, ESCAPE)
})

void t.test('ls --watch keeps the list on the screen up to date', async (t) => {
  await using terminal = Terminal.rlm(['ls', 'watched', '--watch'], settings)
  await terminal.until(/0 held, beginning with 'watched'/)
  await service.request('watched 1', 'p', { ttl_seconds: 60 })
  await terminal.until(/1 held.*watched 1 +p +\d+ +\d+m?s +59s|1 held.*watched 1 +p +\d+ +\S+ +5\ds/s)
  await service.release('watched 1', 'p')
  await terminal.until(/1 held.*0 held/s)
  terminal.control('C')
  t.equal(await terminal.end(), 130)
})

void t.test('a long name is cut in the middle, and the rest of its line is seen', async (t) => {
  await service.request(`long/${'漢字'.repeat(40)}/42`, 'the holder')
  await using terminal = Terminal.rlm(['ls', 'long/'], { ...settings, NO_COLOR: '1' })
  t.equal(await terminal.end(), 0)
  t.match(terminal.shown, /\nlong\/漢[漢字]*…[漢字]+\/42 +the holder +\d+ +\S+ +never\r\n$/)
})
