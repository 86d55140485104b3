import { cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { fatalSentence, inProject, Program, temporaryFolder } from '../support/program.js'

const PROJECT = inProject('.')

/** The compiled project, whose better-sqlite3 is a copy: what it is built as is for the test to say. */
async function projectIn(folder: string): Promise<{ readonly addon: string }> {
  await cp(join(PROJECT, 'dist/src'), join(folder, 'dist/src'), { recursive: true })
  await cp(join(PROJECT, 'dist/migrations'), join(folder, 'dist/migrations'), { recursive: true })
  await cp(join(PROJECT, 'package.json'), join(folder, 'package.json'))
  const modules = join(folder, 'node_modules')
  await mkdir(modules)
  for (const name of await readdir(join(PROJECT, 'node_modules'))) {
    if (name !== 'better-sqlite3') await symlink(join(PROJECT, 'node_modules', name), join(modules, name))
  }
  const copy = join(modules, 'better-sqlite3')
  for (const part of ['package.json', 'lib']) await cp(join(PROJECT, 'node_modules/better-sqlite3', part), join(copy, part), { recursive: true })
  await mkdir(join(copy, 'build/Release'), { recursive: true })
  return { addon: join(copy, 'build/Release/better_sqlite3.node') }
}

void t.test('a better-sqlite3 that was built for another Node: every program says what to run', async (t) => {
  await using folder = await temporaryFolder()
  const { addon } = await projectIn(folder.path)
  const end = (...args: string[]) => new Program([process.execPath, ...args], { DATABASE_URL: 'sqlite:x.db', PORT: '0' }, folder.path).end()
  const sentence = `The package better-sqlite3 was not built for this Node (${process.version}, ${process.platform} ${process.arch}); run npm rebuild better-sqlite3.`

  await writeFile(addon, 'what another Node was built with')
  for (const args of [['server.js'], ['rlm.js', 'serve'], ['rlm.js', 'migrate'], ['rlm.js', 'keys', 'list']]) {
    const [program = '', ...rest] = args
    const { code, stderr } = await end(join('dist/src', program), ...rest)
    t.match({ code, said: fatalSentence(stderr) }, { code: 1, said: sentence }, args.join(' '))
  }
  const embedded = `
    import { createLocks } from './dist/src/embedded/index.js'
    await createLocks({ databaseUrl: 'sqlite:x.db' }).catch(({ name, message }) => console.log(name, message))`
  t.match(await end('--input-type=module', '--eval', embedded), { code: 0, stdout: `StartupError ${sentence}\n` })

  await rm(addon)
  t.equal(fatalSentence((await end('dist/src/rlm.js', 'migrate')).stderr), sentence, 'nor was it built at all')
})
