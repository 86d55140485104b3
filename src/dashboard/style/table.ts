/** The table of locks. The heights of the rows stand in views/window.ts as well. */
export const TABLE = `
.table { --columns: minmax(0, 2.4fr) minmax(0, 1.7fr) 112px 196px 76px 84px 72px; border: 1px solid var(--line); border-radius: 10px; background: var(--surface) }
.table .head, .table .row { display: grid; grid-template-columns: var(--columns); align-items: center; column-gap: 18px; padding: 0 16px }
.table .head { position: sticky; top: 56px; z-index: 1; height: 36px; border-bottom: 1px solid var(--line); border-radius: 10px 10px 0 0; background: var(--surface) }
.table .head button { font-size: 12px; font-weight: 550; color: var(--soft) }
.table .head button:hover, .table .head button[aria-pressed=true] { color: var(--ink) }
.table .head button[aria-pressed=true]::after { content: " ↓"; color: var(--accent) }
.cell { min-width: 0; white-space: nowrap }
.cell.renewals, .cell.token, .cell.waiters, .cell.age { text-align: right }
.cell i { color: var(--faint); font-style: normal }
.row { position: relative; height: 34px; border-top: 1px solid transparent }
.row.lock:hover { background: var(--hover) }
.row.lock a.name::after { content: ""; position: absolute; inset: 0 }
.row.lock:has(a:focus-visible) { background: var(--hover); box-shadow: inset 3px 0 var(--accent) }
.row.lock a.name:focus-visible { outline: none }
.row a.name, .row .holder { display: block; overflow: hidden; text-overflow: ellipsis }
.row a.name { font-weight: 500 }
.row a.name .prefix { font-weight: 400; color: var(--faint) }
.row .holder { color: var(--soft) }
.row .token { font-family: var(--mono); font-size: 12.5px; color: var(--soft) }
.row .waiters b { display: inline-block; min-width: 22px; padding: 0 7px; border-radius: 10px; background: var(--warn-soft); color: var(--warn); font-weight: 600; text-align: center }
.row.group { grid-template-columns: 1fr; border-top-color: var(--line); background: color-mix(in srgb, var(--ground) 55%, var(--surface)) }
.row.group:first-child { border-top-color: transparent }
.row.group button { font-weight: 600 }
.row.group .unnamed { font-weight: 500; color: var(--soft) }
.row.group .sum { margin-left: 10px; color: var(--faint) }
.twist { display: inline-block; width: 0; height: 0; margin: 0 9px 1px 1px; border: solid transparent; border-width: 4px 0 4px 5.5px; border-left-color: var(--faint) }
[aria-expanded=true] > .twist { transform: rotate(90deg) }
.lease { display: flex; align-items: center; gap: 12px; width: 100% }
.lease .bar { flex: 1; height: 5px; overflow: hidden; border-radius: 3px; background: var(--line) }
.lease .fill { display: block; height: 100%; border-radius: 3px; background: var(--accent); transform-origin: left; transition: transform 1s linear }
.lease.low .fill { background: var(--warn) }
.lease .left { flex: none; width: 84px; text-align: right; color: var(--soft) }
.lease.low .left { color: var(--warn) }
.lease .never, .lease .absent, .lease.over .left { color: var(--faint) }
.cell.ends .never, .cell.ends .absent { margin-left: auto }
.empty { padding: 34px 16px 38px; color: var(--soft); text-align: center; overflow-wrap: anywhere }
.head .cell.ends { text-align: right }
@media (max-width: 1020px) {
  .table { --columns: minmax(0, 2fr) minmax(0, 1.4fr) 100px 150px 64px }
  .table .renewals, .table .token { display: none }
}
@media (max-width: 720px) {
  .table .head { display: none }
  .table .row.lock {
    height: 58px;
    grid-template: "name waiters" 22px "holder ends" 20px / minmax(0, 1fr) auto;
    align-content: center;
    column-gap: 12px;
    padding: 0 12px;
    border-top-color: var(--line);
  }
  .table .row.group { height: 40px; padding: 0 12px }
  .row .name { grid-area: name }
  .row .holder { grid-area: holder; font-size: 13px }
  .row .age { display: none }
  .row .ends { grid-area: ends; font-size: 13px }
  .row .lease .bar { flex: 0 0 56px }
  .row .lease .left { width: 78px }
  .row .waiters { grid-area: waiters }
  .row .waiters i { display: none }
}
`
