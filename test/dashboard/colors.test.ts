import { readFileSync } from 'node:fs'
import t from 'tap'
import { inProject } from '../support/program.js'

/** What axe finds on a page depends on where the pointer rests; this holds for every colour on every ground it can have. */
const READABLE = 4.5
const GROUNDS = ['ground', 'surface', 'hover']
const TEXTS = ['ink', 'soft', 'faint', 'accent', 'warn', 'danger']
const TINTED = ['accent', 'warn', 'danger']

type Channels = readonly number[]

/** The channels 0 to 1 of `#rrggbb`, or of `#rrggbbaa` laid over `ground`. */
function channels(color: string, ground?: Channels): Channels {
  const [red = 0, green = 0, blue = 0, alpha = 255] = color.slice(1).match(/../g)?.map((digits) => Number.parseInt(digits, 16)) ?? []
  const share = alpha / 255
  return [red, green, blue].map((value, index) => (value / 255) * share + (ground?.[index] ?? 0) * (1 - share))
}

/** WCAG 2.2, "relative luminance". */
function luminance(color: Channels): number {
  const [red = 0, green = 0, blue = 0] = color.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/** WCAG 2.2, "contrast ratio": 1 to 21. */
function contrast(a: Channels, b: Channels): number {
  const [one, other] = [luminance(a), luminance(b)]
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
}

const style = readFileSync(inProject('src/dashboard/style.css'), 'utf8')
const themes = [...style.matchAll(/:root \{([^}]*)\}/g)].map(([, body = '']) => new Map([...body.matchAll(/--([a-z-]+): (#[0-9a-f]+)/g)].map(([, name = '', color = '']) => [name, color])))

void t.test('every colour of text is readable on every ground', async (t) => {
  t.equal(themes.length, 2, 'light and dark')
  for (const [index, colors] of themes.entries()) {
    const theme = index === 0 ? 'light' : 'dark'
    const color = (name: string): string => {
      const found = colors.get(name)
      if (found === undefined) throw new Error(`no --${name} in ${theme}`)
      return found
    }
    const readable = (text: string, ground: Channels, where: string): void => {
      const ratio = contrast(channels(color(text)), ground)
      t.ok(ratio >= READABLE, `${theme}: ${text} on ${where} has ${ratio.toFixed(2)}`)
    }
    for (const name of GROUNDS) {
      const ground = channels(color(name))
      for (const text of TEXTS) readable(text, ground, name)
      for (const text of TINTED) readable(text, channels(color(`${text}-soft`), ground), `its tint over ${name}`)
    }
    readable('soft', channels(color('line')), 'line')
  }
})
