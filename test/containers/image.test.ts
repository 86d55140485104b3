import { cp, mkdir, readFile, symlink } from 'node:fs/promises'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { samplesIn } from '../support/metrics.js'
import { freePort } from '../../scripts/postgres-server.js'
import { inProject, Program, temporaryFolder } from '../support/program.js'

interface Instruction {
  readonly name: string
  readonly text: string
}

const dockerfile = readFileSync(inProject('Dockerfile'), 'utf8')
/** The instructions of each stage. */
const stages = instructionsIn(dockerfile).reduce<Instruction[][]>((found, instruction) => {
  if (instruction.name === 'FROM') found.push([])
  found.at(-1)?.push(instruction)
  return found
}, [])
const last = stages.at(-1) ?? []
const { engines, version, license, description } = JSON.parse(readFileSync(inProject('package.json'), 'utf8')) as {
  engines: { node: string }
  version: string
  license: string
  description: string
}

function instructionsIn(text: string): Instruction[] {
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => ({ name: line.split(' ')[0] ?? '', text: line.slice(line.indexOf(' ') + 1) }))
}

const textsOf = (stage: readonly Instruction[], name: string): string[] => stage.filter((one) => one.name === name).map(({ text }) => text)
const commandOf = (name: string): string[] => JSON.parse(/\[.*\]/.exec(textsOf(last, name).at(-1) ?? '')?.[0] ?? '[]') as string[]
const environment = Object.fromEntries(textsOf(last, 'ENV').flatMap((text) => text.split(' ').map((pair) => pair.split(/=(.*)/s).slice(0, 2) as [string, string])))

/** Whether the ignore file lets a path into the build: its last pattern that matches decides. */
function isSent(path: string): boolean {
  const patterns = readFileSync(inProject('.dockerignore'), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return patterns.reduce((sent, pattern) => {
    const name = pattern.replace(/^!/, '')
    return name === '*' || path === name || path.startsWith(`${name}/`) ? pattern.startsWith('!') : sent
  }, true)
}

void t.test('the image is built in two stages from versions that are pinned', (t) => {
  const bases = stages.map((stage) => textsOf(stage, 'FROM')[0] ?? '')
  t.equal(bases.length, 2)
  t.match(bases[1], /^node:\d+\.\d+\.\d+-bookworm-slim$/)
  t.equal(bases[0], bases[1]?.replace('-slim', ' AS build'), 'what was compiled for one is run by the same')
  const [, node = ''] = /^node:([\d.]+)/.exec(bases[1] ?? '') ?? []
  t.ok(Number(node.split('.')[0]) >= Number(/\d+/.exec(engines.node)?.[0]), `${node} is ${engines.node}`)
  t.match(dockerfile, /npm ci\n/, 'the lockfile decides')
  t.notMatch(dockerfile, /latest|npm install|ADD |curl|wget|apt-get|--mount=type=secret/)
  const [labels = ''] = textsOf(last, 'LABEL')
  const base = `docker.io/library/${bases[1]}`
  for (const [name, value] of Object.entries({ version, description, licenses: license, 'base.name': base })) {
    t.ok(labels.includes(`org.opencontainers.image.${name}="${value}"`), name)
  }
  t.end()
})

void t.test('what is copied is there, is sent to the build, and is nothing more', (t) => {
  for (const text of textsOf(stages[0] ?? [], 'COPY')) {
    for (const source of text.split(' ').slice(0, -1)) {
      t.ok(existsSync(inProject(source)), `${source} exists`)
      t.ok(isSent(source), `${source} is sent`)
    }
  }
  for (const path of ['.env', '.git', '.git/config', 'node_modules/x', 'test/x', 'dist/x', 'resource_locks.db', 'docs']) t.notOk(isSent(path), `${path} stays outside`)
  t.ok(textsOf(last, 'COPY').every((text) => text.startsWith('--from=build /app/')))
  t.end()
})

void t.test('it runs as nobody special, and says whether it works', (t) => {
  const names = last.map(({ name }) => name)
  t.strictSame(textsOf(last, 'USER'), ['node'])
  t.ok(names.indexOf('USER') > names.lastIndexOf('RUN') && names.indexOf('USER') < names.indexOf('CMD'))
  t.match(textsOf(last, 'RUN'), [/mkdir \/data && chown node:node \/data/], 'the data belong to that user')
  t.strictSame(textsOf(last, 'VOLUME'), [], 'an instance on PostgreSQL would leave one behind each time')
  t.strictSame(textsOf(last, 'EXPOSE'), [environment['PORT'] ?? ''])
  t.match(textsOf(last, 'HEALTHCHECK'), [/--interval=\d+s --timeout=\d+s --start-period=\d+s CMD \[/])
  for (const command of [commandOf('CMD'), commandOf('HEALTHCHECK')]) t.ok(command[0] === 'node' && existsSync(inProject(command[1] ?? '')), `${command.join(' ')}: no shell, so that signals arrive`)
  t.end()
})

void t.test('what the image holds is enough to run: only dist, package.json and the production packages', async (t) => {
  await using image = await temporaryFolder()
  const app = join(image.path, 'app')
  await mkdir(join(image.path, 'data'))
  await mkdir(join(app, 'dist'), { recursive: true })
  await cp(inProject('package.json'), join(app, 'package.json'))
  for (const folder of ['src', 'migrations']) await cp(inProject(`dist/${folder}`), join(app, 'dist', folder), { recursive: true })
  await linkProductionPackages(app)

  const port = String(await freePort())
  const settings = {
    ...environment,
    DATABASE_URL: `sqlite:${join(image.path, 'data/resource_locks.db')}`,
    PORT: port,
    ALLOW_ANONYMOUS: 'true',
    SWEEP_INTERVAL_SECONDS: '0.05',
    // A linked package must find its own needs in the image, not beside the package that the link leads to.
    NODE_OPTIONS: '--preserve-symlinks'
  }
  const run = ([, ...args]: string[]): Program => new Program([process.execPath, ...args], settings, app)
  t.match(await run(commandOf('HEALTHCHECK')).end(), { code: 1, stdout: '', stderr: '' }, 'nobody is there yet')
  const server = run(commandOf('CMD'))
  await eventually('it is healthy', async () => (await run(commandOf('HEALTHCHECK')).end()).code === 0 || undefined)

  const url = `http://127.0.0.1:${port}`
  const asked = await fetch(`${url}/locks/request`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resource_name: 'a', process_id: 'p', ttl_seconds: 0.05 })
  })
  t.equal(asked.status, 200)
  for (const page of ['/docs', '/redoc', '/openapi.json']) t.equal((await fetch(url + page)).status, 200, page)
  await eventually('the sweeper tells what expired', async () => {
    const samples = samplesIn(await (await fetch(`${url}/metrics`)).text())
    return samples.find(({ name }) => name === 'rlm_locks_expired_total')?.value === 1 || undefined
  })
  server.signal('SIGTERM')
  t.match(await server.end(), { code: 0, stderr: '' })
  t.match(await run(commandOf('HEALTHCHECK')).end(), { code: 1 }, 'it says when it is gone')
})

/** Puts what `npm prune --omit=dev` leaves into place: every package of the lockfile that is not only for development. */
async function linkProductionPackages(app: string): Promise<void> {
  const { packages } = JSON.parse(await readFile(inProject('package-lock.json'), 'utf8')) as { packages: Record<string, { dev?: boolean }> }
  for (const [path, { dev = false }] of Object.entries(packages)) {
    // What lies inside another package comes with it.
    if (dev || !/^node_modules\/(?:@[^/]+\/)?[^/]+$/.test(path) || !existsSync(inProject(path))) continue
    await mkdir(join(app, path, '..'), { recursive: true })
    await symlink(inProject(path), join(app, path))
  }
}
