/** Colours, type, the frame of the page. */
export const BASE = `
:root {
  color-scheme: light dark;
  --ground: #f6f6f4;
  --surface: #ffffff;
  --hover: #f1f4f3;
  --ink: #1b1e21;
  --soft: #5d646b;
  --faint: #8a9198;
  --line: #e5e5e1;
  --line-strong: #d3d4d0;
  --accent: #0f766e;
  --accent-soft: #0f766e1f;
  --warn: #a8500a;
  --warn-soft: #d9770626;
  --danger: #b3261e;
  --danger-soft: #b3261e14;
  --sans: Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", "JetBrains Mono", Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101214;
    --surface: #17191c;
    --hover: #1e2226;
    --ink: #e6e8ea;
    --soft: #a2a9b1;
    --faint: #737b84;
    --line: #25292d;
    --line-strong: #363b41;
    --accent: #45c4b0;
    --accent-soft: #45c4b026;
    --warn: #f0ad4e;
    --warn-soft: #f0ad4e26;
    --danger: #ff7b72;
    --danger-soft: #ff7b721f;
  }
}
*, *::before, *::after { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body {
  margin: 0;
  background: var(--ground);
  color: var(--ink);
  font: 14px/1.45 var(--sans);
  font-variant-numeric: tabular-nums;
  -webkit-font-smoothing: antialiased;
}
h1, h2, h3, p, ol, ul, dl, dd, figure, pre { margin: 0; padding: 0 }
ol, ul { list-style: none }
a { color: inherit; text-decoration: none }
a:hover { color: var(--accent) }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px }
.mono, code, pre, kbd { font-family: var(--mono); font-size: .925em }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
.aside { color: var(--soft) }
.page { max-width: 1280px; margin: 0 auto; padding: 0 24px 64px }
.top { display: flex; align-items: center; gap: 16px; height: 60px }
.top h1 a { display: flex; align-items: center; gap: 9px; font-size: 17px; font-weight: 650; letter-spacing: -.01em }
.top h1 svg { width: 20px; height: 20px; color: var(--accent) }
.top nav { display: flex; align-items: center; gap: 4px; margin: 0 -9px 0 auto; color: var(--soft) }
.top nav a { padding: 5px 9px }
.connection { display: inline-flex; align-items: center; gap: 7px; color: var(--soft); font-size: 13px }
.connection .dot { width: 8px; height: 8px; border-radius: 50%; background: var(--faint) }
.connection.live .dot { background: var(--accent); box-shadow: 0 0 0 3px var(--accent-soft) }
.connection.polling .dot { background: var(--warn) }
.connection.lost { color: var(--danger) }
.connection.lost .dot { background: var(--danger) }
/* Wherever one has scrolled to. */
.banner {
  position: fixed;
  z-index: 3;
  bottom: 18px;
  left: 50%;
  width: max-content;
  max-width: calc(100vw - 28px);
  padding: 10px 16px;
  transform: translateX(-50%);
  border: 1px solid var(--danger);
  border-radius: 9px;
  background: var(--surface);
  color: var(--danger);
  box-shadow: 0 10px 32px #00000030;
}
/* What is old should look it. */
.page.lost main { opacity: .55 }
.panel > h3, .card > h3 { font-size: 12px; font-weight: 550; color: var(--soft) }
.none { color: var(--faint) }
@media (max-width: 720px) {
  .page { padding: 0 14px 40px }
  .top { height: 52px; gap: 12px }
  .top nav button:has(kbd) { display: none }
}
@media (prefers-reduced-motion: reduce) {
  * { transition: none !important; animation: none !important }
}
`
