import { main } from '../../src/cli/main.js'
import { startProgram, temporaryFolder, type Ending, type Program } from './program.js'

/** What a command of `rlm` may need beside its arguments. */
export interface RlmOptions {
  /** The service that it talks to. */
  readonly url?: string
  readonly settings?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Starts `rlm` as a process of its own, without a terminal. */
export function startRlm(args: readonly string[], { url, settings = {}, cwd = '.' }: RlmOptions = {}): Program {
  return startProgram('src/rlm.js', { args, cwd, settings: { ...(url === undefined ? {} : { RLM_URL: url }), ...settings } })
}

/** Runs `rlm` to its end. */
export async function rlm(args: readonly string[], options: RlmOptions = {}): Promise<Ending> {
  await using folder = options.cwd === undefined ? await temporaryFolder() : null
  return await startRlm(args, { cwd: folder?.path ?? '.', ...options }).end()
}

/** Runs what needs no process of its own in this one, without a terminal: the same, faster. */
export async function rlmHere(args: readonly string[], { url, settings = {} }: RlmOptions = {}): Promise<Pick<Ending, 'code' | 'stdout' | 'stderr'>> {
  const said = { stdout: '', stderr: '' }
  const env = { ...(url === undefined ? {} : { RLM_URL: url }), ...settings }
  const writer = (name: keyof typeof said) => ({ write: (text: string) => (said[name] += text) })
  const outcome = await main(args, { env, stdout: writer('stdout'), stderr: writer('stderr') })
  if (outcome.kind === 'serve') throw new Error('the service would run in this process')
  return { code: outcome.code, ...said }
}
