import { BASE } from './base.js'
import { CONTROLS } from './controls.js'
import { OVERVIEW } from './overview.js'
import { RESOURCE } from './resource.js'
import { TABLE } from './table.js'

/** The style sheet. It is text in modules, so that tsc alone builds everything there is to serve. */
export const STYLE = [BASE, CONTROLS, OVERVIEW, TABLE, RESOURCE].join('\n')
