import { readFileSync } from 'node:fs'

/*
 * Loaded into a process before everything else (`--import`): its clock is as far off as the file TORTURE_CLOCK says, in
 * milliseconds, from a moment after that is written.
 */

const READ_EVERY_MS = 10

const file = process.env['TORTURE_CLOCK'] ?? ''
const real = Date.now
let shiftMs = 0

function read(): void {
  shiftMs = Number(readFileSync(file, 'utf8'))
}

read()
setInterval(read, READ_EVERY_MS).unref()
Date.now = () => real() + shiftMs

/** `new Date()` is off by as much; a date that is given is not. */
globalThis.Date = new Proxy(Date, { construct: (date, given, of) => Reflect.construct(date, given.length === 0 ? [Date.now()] : given, of) as Date })
