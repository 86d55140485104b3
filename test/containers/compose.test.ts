import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { readConfig, SETTINGS } from '../../src/config.js'
import { parseDatabaseUrl } from '../../src/storage/index.js'
import { TestApp } from '../support/app.js'
import { servedRoutes } from '../support/openapi.js'
import { inProject } from '../support/program.js'

interface ComposeService {
  readonly build?: string
  readonly image: string
  readonly profiles?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly healthcheck?: { readonly test: readonly string[] }
  readonly read_only?: boolean
  readonly cap_drop?: readonly string[]
}

interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>
  readonly volumes: Readonly<Record<string, unknown>>
}

const PASSWORD = 'letters4and8digits'
const text = readFileSync(inProject('compose.yaml'), 'utf8')
const compose = parse(interpolated(text), { merge: true }) as Compose
const services = Object.entries(compose.services)
const proxy = readFileSync(inProject('docs/haproxy.cfg'), 'utf8')

/** As Compose does with `${NAME:?sentence}` and `${NAME:-default}`. */
function interpolated(yaml: string): string {
  return yaml.replace(/\$\{(\w+):(.)([^}]*)\}/g, (_whole, name: string, how: string, rest: string) => (how === '?' ? (name === 'POSTGRES_PASSWORD' ? PASSWORD : '') : rest))
}

function runCompose(...args: string[]) {
  return spawnSync('docker', ['compose', '--file', inProject('compose.yaml'), '--profile', 'pair', ...args], {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], POSTGRES_PASSWORD: PASSWORD },
    encoding: 'utf8'
  })
}

void t.test('Compose itself accepts the file, where it is installed', (t) => {
  if (runCompose('version').status === 0) {
    const { status, stderr } = runCompose('config', '--quiet')
    t.equal(status, 0, stderr)
  } else {
    t.strictSame(Object.keys(parse(text, { merge: true }) as object).toSorted(), ['services', 'volumes', 'x-instance'], 'it is not here: only the YAML was checked')
  }
  t.end()
})

void t.test('without the profile there is one instance, with it there are two behind one port', (t) => {
  const without = services.filter(([, { profiles }]) => profiles === undefined).map(([name]) => name)
  t.strictSame(without.toSorted(), ['locks', 'postgres'])
  t.strictSame(services.filter(([, { profiles }]) => profiles?.includes('pair')).map(([name]) => name).toSorted(), ['locks-2', 'proxy'])
  t.strictSame(compose.services['locks-2']?.environment, compose.services['locks']?.environment, 'both are the same')
  t.end()
})

void t.test('versions are pinned, and nothing is reached from outside this machine', (t) => {
  for (const [name, { build, image, ports = [] }] of services) {
    if (build === undefined) t.match(image, /^[a-z]+:\d+\.\d+(?:\.\d+)?-[a-z]+$/, name)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:\d+:\d+$/, `${name} ${port}`)
  }
  for (const name of ['locks', 'locks-2', 'proxy']) t.match(compose.services[name], { read_only: true, cap_drop: ['ALL'] }, name)
  t.match(text, /\$\{POSTGRES_PASSWORD:\?[^}]+\}/, 'no password of its own')
  t.notMatch(text.replace(/\$\{[^}]*\}/g, ''), /PASSWORD: \S/)
  t.end()
})

void t.test('a service that needs another waits until that one is healthy, which all of them can say', (t) => {
  for (const [name, { depends_on: needs = {} }] of services) {
    for (const [needed, { condition }] of Object.entries(needs)) {
      t.equal(condition, 'service_healthy', `${name} -> ${needed}`)
      const { build, healthcheck } = compose.services[needed] ?? {}
      t.ok(healthcheck !== undefined || build !== undefined, `${needed} says so itself, or its image does`)
    }
  }
  t.match(compose.services['postgres']?.healthcheck?.test.join(' '), /^CMD pg_isready .*--username=locks .*--dbname=locks/)
  t.end()
})

void t.test('the settings are settings, and the service accepts them', (t) => {
  const { environment = {} } = compose.services['locks'] ?? {}
  t.strictSame(Object.keys(environment).filter((name) => !(name in SETTINGS)), [])
  const { DATABASE_URL: url } = readConfig({ ...environment, ALLOW_ANONYMOUS: 'true', HOST: '0.0.0.0' })
  t.strictSame(parseDatabaseUrl(url), { kind: 'postgres', url: `postgres://locks:${PASSWORD}@postgres/locks` })
  t.match(compose.services['postgres']?.environment, { POSTGRES_USER: 'locks', POSTGRES_DB: 'locks', POSTGRES_PASSWORD: PASSWORD, POSTGRES_INITDB_ARGS: /--encoding=UTF8/ })
  t.end()
})

void t.test('what is mounted is there', (t) => {
  for (const [name, { volumes = [] }] of services) {
    for (const volume of volumes) {
      const source = volume.split(':')[0] ?? ''
      t.ok(source.startsWith('./') ? existsSync(inProject(source)) : source in compose.volumes, `${name} ${source}`)
    }
  }
  t.end()
})

void t.test('the proxy knows the instances, their port and their readiness, and waits as long as a request may', async (t) => {
  const instances = services.filter(([, { build }]) => build !== undefined).map(([name]) => name)
  const port = /\bPORT=(\d+)/.exec(readFileSync(inProject('Dockerfile'), 'utf8'))?.[1]
  t.strictSame(Array.from(proxy.matchAll(/^ +server \S+ (\S+)$/gm), ([, address]) => address), instances.map((name) => `${name}:${port}`))
  t.strictSame(compose.services['proxy']?.ports, [`127.0.0.1:8080:${/bind :(\d+)/.exec(proxy)?.[1]}`])
  await using api = await TestApp.open('sqlite')
  t.ok(servedRoutes(api).includes(`GET ${/uri (\S+)/.exec(proxy)?.[1]}`))
  for (const side of ['client', 'server']) {
    t.ok(Number(new RegExp(`timeout ${side} (\\d+)s`).exec(proxy)?.[1]) > Number(SETTINGS.MAX_WAIT_SECONDS.fallback), side)
  }
})
