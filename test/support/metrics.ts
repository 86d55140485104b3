import type { TestApp } from './app.js'

/** One line of an answer of /metrics. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Reads the text format of Prometheus strictly: what is neither a sample nor a comment of the two known kinds is an error. */
export function samplesIn(text: string): Sample[] {
  const types = new Map<string, string>()
  return text.split('\n').flatMap((line): Sample[] => {
    if (line === '' || line.startsWith('# HELP ')) return []
    const [, typed = '', type = ''] = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line) ?? []
    if (typed !== '') {
      if (types.has(typed)) throw new Error(`${typed} comes twice`)
      types.set(typed, type)
      return []
    }
    const [, name, list = '', value] = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$/i.exec(line) ?? []
    if (name === undefined) throw new Error(`neither sample nor comment: ${line}`)
    const family = types.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, '')
    if (!types.has(family)) throw new Error(`${name} has no type`)
    const labels = Object.fromEntries(Array.from(list.matchAll(/(\w+)="([^"]*)"/g), ([, label = '', content = '']) => [label, content]))
    return [{ name, labels, value: Number(value) }]
  })
}

export class Scrape {
  readonly text: string
  readonly samples: readonly Sample[]

  private constructor(text: string) {
    this.text = text
    this.samples = samplesIn(text)
  }

  static async of(api: TestApp): Promise<Scrape> {
    return new Scrape((await api.get<string>('/metrics')).body)
  }

  /** The value of the one sample that has these labels at least; undefined where there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.samples.filter((sample) => sample.name === name && Object.entries(labels).every(([label, text]) => sample.labels[label] === text))
    if (found.length > 1) throw new Error(`${name} ${JSON.stringify(labels)} is ambiguous`)
    return found[0]?.value
  }
}
