import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import t, { type Test } from 'tap'

const GREEN = `TAP version 14
1..1
# Subtest: test/a.test.ts
    ok 1 - holds
    1..1
ok 1 - test/a.test.ts # time=5ms

# { total: 1, pass: 1 }
# time=9ms
`

const RED = `TAP version 14
1..3
# Subtest: test/b.test.ts
    # Subtest: outer
        ok 1 - first
        # Subtest: inner
            not ok 1 - letters
              ---
              diff: |
                -y
                +x
              ...
            1..1
        not ok 2 - inner # time=2ms
          ---
          at:
            lineNumber: 4
          ...
        1..2
    not ok 1 - outer # time=3ms
    1..1
not ok 1 - test/b.test.ts # time=5ms
  ---
  exitCode: 1
  ...

# Subtest: test/c.test.ts
    1..0 # no tests found
not ok 2 - test/c.test.ts # time=5ms
  ---
  exitCode: 7
  ...

# { total: 3, pass: 1, fail: 2 }
`

/** What the script makes of reports with these contents. */
function count(t: Test, reports: Record<string, string>, ...also: string[]) {
  const folder = t.testdir(reports)
  const { status, stdout } = spawnSync(process.execPath, [resolve('dist/scripts/count-tests.js'), ...Object.keys(reports), ...also], {
    cwd: folder,
    encoding: 'utf8'
  })
  return { status, lines: stdout.trimEnd().split('\n') }
}

void t.test('reports without failures give their sum and nothing else', async (t) => {
  t.same(count(t, { a: GREEN, b: GREEN }), { status: 0, lines: ['2 passed, 0 failed'] })
})

void t.test('a failed assertion is shown once, under the names of its tests, with its details', async (t) => {
  const { status, lines } = count(t, { a: GREEN, b: RED })
  t.equal(status, 1)
  t.same(lines.slice(0, 4), ['FAILED test/b.test.ts > outer > inner > letters', '  diff: |', '    -y', '    +x'])
  t.equal(lines.filter((line) => line.startsWith('FAILED')).length, 2)
  t.equal(lines.at(-1), '2 passed, 2 failed')
})

void t.test('a file that failed without an assertion is shown as such', async (t) => {
  const { lines } = count(t, { b: RED })
  t.ok(lines.join('\n').includes('FAILED test/c.test.ts\n  exitCode: 7\n'))
})

void t.test('a report that is missing or breaks off is a failure', async (t) => {
  const { status, lines } = count(t, { a: GREEN, b: GREEN.split('# {')[0] ?? '' }, 'nowhere')
  t.equal(status, 1)
  t.equal(lines.at(-1), '1 passed, 2 failed')
  t.ok(lines.includes('nowhere: the run did not finish'))
})
