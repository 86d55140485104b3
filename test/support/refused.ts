import type { Test } from 'tap'
import { runProgram, type ProgramOptions } from './program.js'

/**
 * Expects a program to end by itself with code 1 and one sentence for a person, and nothing for a programmer.
 *
 * @returns what stood on its standard error.
 */
export async function refused(t: Test, program: 'server' | 'migrate' | 'keys' | 'raise-numbers', options: ProgramOptions, sentence: RegExp): Promise<string> {
  const { code, stdout, stderr } = await runProgram(`src/${program}.js`, options)
  t.equal(code, 1)
  t.match(stderr, /^[A-Z][^\n]*\.\n$/, 'one sentence')
  t.match(stderr, sentence)
  t.notMatch(stdout + stderr, /\n\s+at |\.[jt]s:\d|Error:/, 'no stack trace')
  return stderr
}
