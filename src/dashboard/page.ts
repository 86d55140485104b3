export interface PageParts {
  /** Where the page's files are, below `/dashboard/`. */
  readonly folder: string
  readonly importMap: string
  /** What to load at once, instead of one import after another. */
  readonly modules: readonly string[]
}

/** The page itself. Its addresses are relative, so that it also works where a proxy serves the service below some path. */
export function pageOf({ folder, importMap, modules }: PageParts): string {
  const at = `./dashboard/${folder}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Locks</title>
<link rel="icon" href="${at}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${at}/style.css">
<script type="importmap">${importMap}</script>
${modules.map((name) => `<link rel="modulepreload" href="${at}/${name}">`).join('\n')}
<script type="module" src="${at}/main.js"></script>
</head>
<body>
<div id="app"><noscript>The dashboard needs JavaScript. Everything it shows can also be read with the API, see /docs.</noscript></div>
</body>
</html>
`
}

export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#0f766e"/>
<path d="M11 15v-3.5a5 5 0 0 1 10 0V15" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round"/>
<rect x="8.5" y="14.5" width="15" height="11" rx="2.5" fill="#fff"/>
</svg>
`
