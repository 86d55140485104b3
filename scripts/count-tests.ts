import { readFileSync } from 'node:fs'

/**
 * `node dist/scripts/count-tests.js REPORT…` prints the failures of TAP reports and then, in one plain line, how many
 * assertions passed and failed in all of them together. A report that is missing or breaks off counts as one failure.
 */
const reports = process.argv.slice(2)
if (reports.length === 0) throw new Error('usage: count-tests REPORT…')
const totals = { pass: 0, fail: 0 }
for (const path of reports) {
  const report = contentOf(path)
  for (const failure of failuresIn(report)) process.stdout.write(`${failure}\n\n`)
  const last = report.findLast((line) => /^# \{ total: \d+/.test(line))
  if (last === undefined) process.stdout.write(`${path}: the run did not finish\n\n`)
  totals.pass += numberIn(last ?? '', 'pass')
  totals.fail += last === undefined ? 1 : numberIn(last, 'fail')
}
process.stdout.write(`${totals.pass} passed, ${totals.fail} failed\n`)
process.exitCode = totals.fail > 0 ? 1 : 0

function contentOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch {
    return []
  }
}

function numberIn(totals: string, name: string): number {
  return Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
}

/** Each failed assertion under the names of its tests; a failed test only where none of its assertions tells why. */
function failuresIn(report: readonly string[]): string[] {
  const failures: { readonly path: string; readonly text: string }[] = []
  let tests: { readonly indent: number; readonly name: string }[] = []
  for (const [index, line] of report.entries()) {
    const { indent = '', head, name = '' } = /^(?<indent> *)(?<head># Subtest:|not ok \d+ -) (?<name>.*)$/.exec(line)?.groups ?? {}
    if (head === undefined) continue
    tests = tests.filter((test) => test.indent < indent.length)
    if (head === '# Subtest:') {
      tests.push({ indent: indent.length, name })
      continue
    }
    const path = [...tests.map((test) => test.name), name.replace(/ # time=.*$/, '')].join(' > ')
    if (failures.some((failure) => failure.path.startsWith(`${path} > `))) continue
    failures.push({ path, text: [`FAILED ${path}`, ...detailsAfter(report, index, indent.length + 2)].join('\n') })
  }
  return failures.map(({ text }) => text)
}

/** The block of details that follows a failure, if one does. */
function detailsAfter(report: readonly string[], index: number, indent: number): string[] {
  if (report[index + 1]?.slice(indent) !== '---') return []
  const end = report.findIndex((line, at) => at > index && line.slice(indent) === '...')
  return report.slice(index + 2, end < 0 ? undefined : end).map((line) => `  ${line.slice(indent)}`.trimEnd())
}
