import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import t from 'tap'
import { inProject, Program } from '../support/program.js'
import { Service } from '../support/service.js'
import { bring, run, Tarball } from './support.js'

interface Snippet {
  readonly name: string
  readonly language: string
  readonly text: string
}

const DOCUMENTS = ['README.md', 'docs/client.md']

/** Every piece of JavaScript and TypeScript in a document; a word after the language says where it runs. */
async function snippetsIn(path: string): Promise<Snippet[]> {
  const blocks = (await readFile(inProject(path), 'utf8')).matchAll(/^```(?<language>(?:js|ts)(?: \w+)?)\n(?<text>.*?)^```$/gms)
  return Array.from(blocks, ({ groups: { language = '', text = '' } = {} }, index) => ({
    name: `${path.replaceAll(/\W/g, '-').toLowerCase()}-${index + 1}`,
    language,
    text
  }))
}

const COMPILER_OPTIONS = {
  target: 'ES2022',
  module: 'NodeNext',
  lib: ['ES2024', 'ESNext.Disposable', 'DOM'],
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  outDir: 'out'
}

void t.test('the package in an empty project', async (t) => {
  await using tarball = await Tarball.make()
  const project = await tarball.install()
  await using service = await Service.start()
  const snippets = (await Promise.all(DOCUMENTS.map(snippetsIn))).flat()
  const typed = snippets.filter(({ language }) => language.startsWith('ts'))
  const tsc = (config: object) =>
    writeFile(join(project, 'tsconfig.json'), JSON.stringify(config)).then(() => run(process.execPath, [inProject('node_modules/typescript/bin/tsc')], project))

  await t.test('a page’s project compiles the client, without the types of Node', async (t) => {
    await writeFile(join(project, 'page.ts'), "export * from 'resource-lock-manager/client'\n")
    const { stdout } = await tsc({
      compilerOptions: { ...COMPILER_OPTIONS, lib: ['ES2022', 'ESNext.Disposable', 'DOM', 'DOM.AsyncIterable'], types: [], skipLibCheck: false },
      files: ['page.ts']
    })
    t.equal(stdout, '')
  })

  await bring(project, 'express', '@types')
  await mkdir(join(project, 'out'), { recursive: true })
  for (const { name, language, text } of snippets) {
    const atService = text.replaceAll('http://127.0.0.1:8000', service.url).replaceAll('new HttpLocks()', `new HttpLocks({ url: '${service.url}' })`)
    await (language.startsWith('js') ? writeFile(join(project, 'out', `${name}.js`), atService) : writeFile(join(project, `${name}.ts`), atService))
  }

  await t.test('the documented TypeScript compiles', async (t) => {
    const { code, stdout } = await tsc({ compilerOptions: COMPILER_OPTIONS, files: typed.map(({ name }) => `${name}.ts`) })
    t.equal(code, 0, stdout)
  })

  t.ok(snippets.length > 10)
  for (const { name, language } of snippets) {
    await t.test(`${name} runs`, async (t) => {
      if (language.endsWith('browser')) {
        const { outputFiles } = await build({ entryPoints: [join(project, 'out', `${name}.js`)], bundle: true, format: 'esm', platform: 'browser', write: false })
        t.ok(outputFiles[0]?.text, 'as a bundle for a page')
        return
      }
      if (language.endsWith('program')) {
        const program = new Program([process.execPath, join('out', `${name}.js`)], {}, project)
        await program.find((stdout) => stdout.includes('\n') || undefined)
        program.signal('SIGTERM')
        t.match(await program.end(), { code: 0, stderr: '' }, 'until it is asked to end')
        return
      }
      const { code, stdout, stderr } = await run(process.execPath, [join('out', `${name}.js`)], project, { ...process.env, NODE_NO_WARNINGS: '1' })
      t.equal(code, 0, stdout)
      t.equal(stderr, '')
    })
  }
})
