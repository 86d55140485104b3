import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inProject } from '../../support/program.js'
import type { Patch } from './bugs.js'

/**
 * The text of a compiled file with a patch applied.
 *
 * @throws Error unless the text to be replaced occurs exactly once: a patch that missed would show nothing.
 */
export function patchedText(text: string, { file, find, replace }: Patch): string {
  const occurrences = text.split(find).length - 1
  if (occurrences !== 1) throw new Error(`'${find}' occurs ${occurrences} times in ${file}`)
  return text.replace(find, () => replace)
}

/** A copy of the compiled project with patches in it, which is removed in the end. */
export async function patchedCopy(patches: readonly Patch[]): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'rlm-patched-'))
  await cp(inProject('dist'), join(path, 'dist'), { recursive: true })
  await cp(inProject('package.json'), join(path, 'package.json'))
  await symlink(inProject('node_modules'), join(path, 'node_modules'))
  for (const patch of patches) {
    const file = join(path, 'dist/src', patch.file)
    await writeFile(file, patchedText(await readFile(file, 'utf8'), patch))
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
