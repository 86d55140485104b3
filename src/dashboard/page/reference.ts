// oxlint-disable-next-line no-unassigned-import -- it defines the element rapi-doc
import 'rapidoc'

/** The reader of the API document follows the colours of the system and the width of the screen, for which it has no settings of its own. */
const LIGHT = { theme: 'light', 'bg-color': '#ffffff', 'text-color': '#1b1e21', 'nav-bg-color': '#f6f6f4', 'primary-color': '#0f766e' }
const DARK = { theme: 'dark', 'bg-color': '#17191c', 'text-color': '#e6e8ea', 'nav-bg-color': '#101214', 'primary-color': '#45c4b0' }

const dark = matchMedia('(prefers-color-scheme: dark)')
/** From this width on the reader shows its list of operations beside the one that is open; on narrower screens it has none. */
const wide = matchMedia('(min-width: 768px)')

function paint(): void {
  const reader = document.querySelector('rapi-doc')
  const settings = { ...(dark.matches ? DARK : LIGHT), 'render-style': wide.matches ? 'focused' : 'view' }
  for (const [name, value] of Object.entries(settings)) reader?.setAttribute(name, value)
}

for (const media of [dark, wide]) media.addEventListener('change', paint)
paint()
