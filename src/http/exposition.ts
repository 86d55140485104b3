import type { Histogram } from '../locks/metrics.js'

export type Labels = Readonly<Record<string, string>>

export interface Sample {
  readonly labels?: Labels
  readonly value: number
}

/** The text format of Prometheus, version 0.0.4: one family of samples with the words that explain it. */
export function family(type: 'counter' | 'gauge', name: string, help: string, samples: readonly Sample[]): string {
  return lines(type, name, help, samples.map(({ labels = {}, value }) => line(name, labels, value)))
}

/** The same for histograms, whose buckets hold all values up to their upper end. */
export function histograms(name: string, help: string, all: readonly { readonly labels?: Labels; readonly histogram: Histogram }[]): string {
  const samples = all.flatMap(({ labels = {}, histogram: { bounds, counts, sum } }) => {
    let total = 0
    const buckets = counts.map((count, index) => line(`${name}_bucket`, { ...labels, le: String(bounds[index] ?? '+Inf') }, (total += count)))
    return [...buckets, line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, total)]
  })
  return lines('histogram', name, help, samples)
}

function lines(type: string, name: string, help: string, samples: readonly string[]): string {
  return samples.length === 0 ? '' : [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples, ''].join('\n')
}

/** Labels have fixed words for values, which need no escaping. */
function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`)
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`
}
