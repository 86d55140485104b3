import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { inProject, temporaryFolder } from '../support/program.js'

interface PreviousBuild extends AsyncDisposable {
  /** Its `dist`; undefined where it could not be made. */
  readonly path: string | undefined
  readonly why: string
  readonly commit: string
}

/**
 * Builds the version that an operator upgrades from: the newest tag, or where there is none, the last commit before the
 * newest migration, so that the upgrade changes the tables.
 *
 * @param migration builds the last commit before that one instead.
 */
export async function previousBuild(migration?: string): Promise<PreviousBuild> {
  const folder = await temporaryFolder()
  const dispose = { [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
  const tag = migration === undefined ? git('describe', '--tags', '--abbrev=0') : undefined
  const added = git('log', '--diff-filter=A', '-1', '--format=%H', '--', migration === undefined ? 'migrations' : `migrations/${migration}.ts`)
  const commit = tag ?? (added === undefined ? undefined : git('rev-parse', '--verify', '--quiet', `${added}^`))
  if (commit === undefined) return { ...dispose, path: undefined, why: 'the history of the project is not in this copy', commit: '' }
  const archive = join(folder.path, 'source.tar')
  git('archive', '--output', archive, commit, 'src', 'migrations', 'package.json', 'tsconfig.json')
  run(folder.path, 'tar', ['-xf', archive])
  const { scripts, dependencies } = JSON.parse(await readFile(join(folder.path, 'package.json'), 'utf8')) as Record<'scripts' | 'dependencies', Readonly<Record<string, string>>>
  await linkDependencies(folder.path, dependencies)
  // As the compiler would, but without looking at types, which are those of other dependencies by now.
  run(folder.path, 'sh', ['-c', 'esbuild $(find src migrations -name "*.ts" ! -name "*.d.ts") --outdir=dist --outbase=. --format=esm --platform=node --target=es2022 --log-level=warning'])
  if (scripts['bundle'] !== undefined) run(folder.path, 'sh', ['-c', scripts['bundle']])
  return { ...dispose, path: join(folder.path, 'dist'), why: '', commit: git('log', '-1', '--format=%h (%cs)', commit) ?? commit }
}

/** Those that this version has, and beside them what it has no more. */
async function linkDependencies(folder: string, dependencies: Readonly<Record<string, string>>): Promise<void> {
  const missing = Object.entries(dependencies).filter(([name]) => !existsSync(inProject(`node_modules/${name}`)))
  await symlink(inProject('node_modules'), join(folder, 'node_modules'))
  if (missing.length === 0) return
  const older = join(folder, 'older')
  await mkdir(older)
  run(older, 'npm', ['install', '--prefix', older, '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', ...missing.map(([name, range]) => `${name}@${range}`)])
  for (const [name] of missing) {
    await mkdir(dirname(join(folder, 'dist/node_modules', name)), { recursive: true })
    await symlink(join(older, 'node_modules', name), join(folder, 'dist/node_modules', name))
  }
}

/** What git says; undefined where it fails or has nothing to say. */
function git(...args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync('git', args, { cwd: inProject('.'), encoding: 'utf8' })
  return status === 0 && stdout.trim() !== '' ? stdout.trim() : undefined
}

function run(cwd: string, command: string, args: readonly string[]): void {
  const env = { ...process.env, PATH: `${inProject('node_modules/.bin')}:${process.env['PATH']}` }
  const { status, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`)
}
