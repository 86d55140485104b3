import { readFile } from 'node:fs/promises'
import t from 'tap'
import { catchersOf, nameOfCatcher, SEEDED_BUGS } from './bugs.js'
import { patchedText } from './patching.js'
import { inProject } from '../../support/program.js'

void t.test('every text that a seeded bug replaces is there, exactly once', async (t) => {
  for (const { title, patches } of SEEDED_BUGS) {
    for (const patch of patches) {
      const before = await readFile(inProject(`dist/src/${patch.file}`), 'utf8')
      t.doesNotThrow(() => patchedText(before, patch), `${title}: ${patch.file}`)
    }
  }
})

void t.test('the test that must find a seeded bug is there by its name', async (t) => {
  for (const { title, caughtBy, says } of SEEDED_BUGS) {
    if (!('test' in caughtBy)) continue
    const source = await readFile(inProject(`dist/test/${caughtBy.test}`), 'utf8')
    t.match(source, new RegExp(says.source.replace(/^not ok(?: \.\*)?/, '')), title)
  }
})

void t.test('a text that is not there, or twice, is no patch', (t) => {
  const patch = { file: 'a.js', find: 'x', replace: '$&' }
  t.equal(patchedText('axb', patch), 'a$&b', 'what stands there instead is taken as it is')
  t.throws(() => patchedText('ab', patch), /occurs 0 times in a\.js/)
  t.throws(() => patchedText('xx', patch), /occurs 2 times/)
  t.end()
})

void t.test('the table in docs/reliability.md has every seeded bug', async (t) => {
  const page = await readFile(inProject('docs/reliability.md'), 'utf8')
  for (const bug of SEEDED_BUGS) t.ok(page.includes(`| ${bug.title} | ${catchersOf(bug).map(nameOfCatcher).join(', ')} |`), bug.title)
  t.equal(page.split('\n').filter((line) => /^\| .* \| (?:`test\/|torture on)/.test(line)).length, SEEDED_BUGS.length, 'and no other')
})
