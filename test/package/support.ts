import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inProject } from '../support/program.js'

export interface Ran {
  readonly code: unknown
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command to its end, for at most ten minutes. */
export async function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Promise<Ran> {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 600_000 })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const [code] = (await once(child, 'close')) as unknown[]
  return { code, stdout, stderr }
}

/** Installs what a project names, and further packages, without their scripts; a second time where a registry failed once. */
export async function install(project: string, ...packages: readonly string[]): Promise<Ran> {
  // What npm fetched for this checkout it need not fetch again.
  const command = ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=5', ...packages]
  const first = await run('npm', command, project)
  return first.code === 0 ? first : await run('npm', command, project)
}

/** The package as it would be published, in a folder of its own. */
export class Tarball implements AsyncDisposable {
  readonly folder: string
  readonly path: string
  /** The paths in it. */
  readonly files: readonly string[]

  private constructor(folder: string, name: string, files: readonly string[]) {
    this.folder = folder
    this.path = join(folder, name)
    this.files = files
  }

  /** Packs what was built last. */
  static async make(): Promise<Tarball> {
    const folder = await mkdtemp(join(tmpdir(), 'rlm-package-'))
    const packing = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], inProject('.'))
    if (packing.code !== 0) throw new Error(`npm pack failed: ${packing.stderr}`)
    const [{ filename, files }] = JSON.parse(packing.stdout) as [{ filename: string; files: { path: string }[] }]
    return new Tarball(folder, filename, files.map(({ path }) => path))
  }

  /** Installs it into an empty project, whose folder goes with the tarball's. */
  async install(): Promise<string> {
    const project = join(this.folder, 'project')
    const dependencies = { 'resource-lock-manager': `file:${this.path}`, 'better-sqlite3': versionOf('better-sqlite3') }
    await mkdir(project)
    await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'empty', type: 'module', dependencies }))
    const installing = await install(project)
    if (installing.code !== 0) throw new Error(`npm install failed: ${installing.stderr}`)
    // Compiled for this checkout already, which takes minutes.
    await cp(inProject('node_modules/better-sqlite3/build'), join(project, 'node_modules/better-sqlite3/build'), { recursive: true })
    return project
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** Lets a project use what an application would bring along. */
export async function bring(project: string, ...packages: readonly string[]): Promise<void> {
  for (const name of packages) await symlink(inProject(`node_modules/${name}`), join(project, 'node_modules', name))
}

function versionOf(name: string): string {
  return (createRequire(import.meta.url)(inProject(`node_modules/${name}/package.json`)) as { version: string }).version
}
