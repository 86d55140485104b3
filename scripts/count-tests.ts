import { readFileSync } from 'node:fs'

/** `node dist/scripts/count-tests.js REPORT` says how many assertions of a TAP report passed and failed, in one plain line. */
const report = readFileSync(process.argv[2] ?? '.tap/report.tap', 'utf8')
const totals = report.split('\n').findLast((line) => /^# \{ total: \d+/.test(line))
if (totals === undefined) throw new Error('the report has no totals: the run did not finish')
const count = (name: string): number => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
process.stdout.write(`${count('pass')} passed, ${count('fail')} failed\n`)
