import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { TestApp } from '../support/app.js'
import { Scrape } from '../support/metrics.js'
import { inProject } from '../support/program.js'

interface Target {
  readonly expr: string
  readonly legendFormat: string
}

interface Dashboard {
  readonly title: string
  readonly panels: readonly { readonly id: number; readonly title: string; readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>; readonly targets: readonly Target[] }[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: string }[] }
}

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string; readonly for: string; readonly labels: object; readonly annotations: { readonly summary: string } }[] }[]
}

const read = (name: string): string => readFileSync(inProject(`docs/${name}`), 'utf8')
const dashboard = JSON.parse(read('grafana-dashboard.json')) as Dashboard
const alerts = (parse(read('alerts.yaml')) as Rules).groups.flatMap(({ rules }) => rules)

/** What a query may name beside the figures of this service. */
const OF_PROMETHEUS = new Set(['up'])

/** Every figure of a service that has done everything once, with the values of its labels. */
async function figures(): Promise<Map<string, Map<string, Set<string>>>> {
  await using api = await TestApp.open('postgres')
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const known = new Map<string, Map<string, Set<string>>>()
  for (const { name, labels } of (await Scrape.of(api)).samples) {
    const ofName = known.get(name) ?? new Map<string, Set<string>>()
    known.set(name, ofName)
    for (const [label, value] of Object.entries(labels)) ofName.set(label, (ofName.get(label) ?? new Set()).add(value))
  }
  return known
}

/** The selectors of a query: `name{label="…"}`, or a name alone. */
function selectorsIn(query: string): { readonly name: string; readonly matchers: readonly (readonly [label: string, regex: RegExp])[] }[] {
  return Array.from(query.matchAll(/\b((?:rlm|nodejs|process|up)\w*)\b(?:\{([^}]*)\})?/g), ([, name = '', list = '']) => ({
    name,
    matchers: Array.from(list.matchAll(/(\w+)(=~?)"([^"]*)"/g), ([, label = '', how, text = '']) => [
      label,
      new RegExp(`^(?:${how === '=~' ? text : text.replaceAll('.', '\\.')})$`)
    ])
  }))
}

void t.test('every query of the dashboard and of the alerts names figures and labels that there are', async (t) => {
  const known = await figures()
  const queries = [
    ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
    ...dashboard.templating.list.filter(({ query }) => query.startsWith('label_values')).map(({ name, query }) => [name, query] as const),
    ...alerts.map(({ alert, expr }) => [alert, expr] as const)
  ]
  t.ok(queries.length > 20)
  for (const [title, query] of queries) {
    const selectors = selectorsIn(query)
    t.ok(selectors.length > 0, `${title} asks for something`)
    for (const { name, matchers } of selectors) {
      t.ok(known.has(name) || OF_PROMETHEUS.has(name), `${title}: ${name}`)
      for (const [label, regex] of matchers) {
        if (['job', 'instance'].includes(label)) continue
        const values = [...(known.get(name)?.get(label) ?? [])]
        t.ok(values.some((value) => regex.test(value)), `${title}: ${name}{${label}} is one of ${values.join(', ')}`)
      }
    }
    t.equal(query.replace(/[^(]/g, '').length, query.replace(/[^)]/g, '').length, `${title}: parentheses match`)
    for (const [, labels = ''] of query.matchAll(/\bby \(([^)]*)\)/g)) {
      for (const label of labels.split(',').map((text) => text.trim())) {
        t.ok(label === 'instance' || selectors.some(({ name }) => known.get(name)?.has(label)), `${title}: grouped by ${label}`)
      }
    }
  }
})

void t.test('the panels of the dashboard have titles and places of their own', (t) => {
  const { panels } = dashboard
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  t.equal(new Set(panels.map(({ title }) => title)).size, panels.length)
  for (const { title, gridPos: one } of panels) {
    t.ok(one.x + one.w <= 24, `${title} is inside`)
    const over = panels.filter(({ gridPos: other }) => other !== one && one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h)
    t.strictSame(over, [], `${title} lies over no other`)
  }
  t.end()
})

void t.test('the runbook says what to do at each alert, and at no other', (t) => {
  const headings = Array.from(read('runbook.md').matchAll(/^## (.*)$/gm), ([, heading = '']) => heading.split(/, | and /)).flat()
  t.strictSame(headings.toSorted(), alerts.map(({ alert }) => alert).toSorted())
  t.end()
})

void t.test('each alert says how bad it is, for how long, and what is the matter', (t) => {
  t.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length)
  for (const { alert, for: time, labels, annotations } of alerts) {
    t.match(alert, /^(?:[A-Z][a-z]+)+$/)
    t.match(time, /^\d+m$/, alert)
    t.match(labels, { severity: /^(?:critical|warning)$/ }, alert)
    t.match(annotations.summary, /^.*\.$/, alert)
  }
  t.end()
})
