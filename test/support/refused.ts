import type { Test } from 'tap'
import { runCommand, runProgram, type ProgramOptions } from './program.js'

/**
 * Expects a program to end by itself with code 1 and one sentence for a person, in a line like those of the log, and nothing
 * for a programmer.
 *
 * @returns what stood on its standard error.
 */
export async function refused(t: Test, program: 'server' | 'migrate' | 'keys' | 'raise-numbers', options: ProgramOptions, sentence: RegExp): Promise<string> {
  const { code, stdout, stderr } = await (program === 'server' ? runProgram('src/server.js', options) : runCommand(program, options))
  t.equal(code, 1)
  t.match(fatalSentence(stderr), /^[A-Z][^\n]*\.$/, 'one sentence')
  t.match(fatalSentence(stderr), sentence)
  t.notMatch(stdout + stderr, /\n\s+at |\.[jt]s:\d|Error:/, 'no stack trace')
  return stderr
}

/** The sentence of the one line of the log that stands on the standard error of a program; '' where there is something else. */
export function fatalSentence(stderr: string): string {
  const line = /^(\{.*\})\n$/.exec(stderr)?.[1]
  const { level, time, msg } = JSON.parse(line ?? '{}') as Readonly<Record<string, unknown>>
  return level === 60 && typeof time === 'number' && typeof msg === 'string' ? msg : ''
}
