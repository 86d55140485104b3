import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Instance } from '../support/instance.js'

/*
 * A waiter's connection breaks just as it is granted, and its caller repeats the request elsewhere: the grant is given back
 * or the repetition is answered with it, never both.
 */
for (const kind of DATABASES) {
  void t.test(`a grant that a repetition was answered with is not given back: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    const first = await one.now('a', 'p', 'id')
    t.match(await one.now('a', 'p', 'id'), { kind: 'granted', replayed: true })
    if (first.kind === 'granted') await one.service.giveBack(first.grants, 'id')
    t.match(await one.inspect('a'), { grant: { processId: 'p' } })
  })

  void t.test(`a grant that nobody was told of is given back, and its id with it: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    const first = await one.now(['a', 'b'], 'p', 'id')
    t.match(await one.now(['a', 'b'], 'q', 'id'), { kind: 'request-id-reused' }, 'the id for other content claims nothing')
    if (first.kind === 'granted') await one.service.giveBack(first.grants, 'id')
    t.match(await one.inspect('a'), { grant: null })
    t.match(await one.inspect('b'), { grant: null })
    t.match(await one.now(['a', 'b'], 'p', 'id'), { kind: 'request-id-reused' })
  })

  void t.test(`giving back and repeating at once: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    await using second = kind === 'postgres' ? await Instance.start(database) : null
    const other = second ?? one
    for (let round = 0; round < 60; round += 1) {
      const names = round % 2 === 0 ? [`${round}`] : [`${round}`, `${round}/b`]
      const first = await one.now(names, 'p', `id ${round}`)
      const grants = first.kind === 'granted' ? first.grants : []
      const [repetition] = await Promise.all([other.now(names, 'p', `id ${round}`), one.service.giveBack(grants, `id ${round}`)])
      const held = await Promise.all(names.map(async (name) => (await other.inspect(name)).grant !== null))
      t.ok(held.every((one) => one === (repetition.kind === 'granted')), `${repetition.kind}: ${held.join()}`)
    }
  })

  void t.test(`a request for several and its repetition at once are answered with the same grants: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    await using second = kind === 'postgres' ? await Instance.start(database) : null
    for (let round = 0; round < 40; round += 1) {
      const names = [`${round}`, `${round}/b`]
      const answers = await Promise.all([one, second ?? one].map((instance) => instance.now(names, 'p', `id ${round}`)))
      t.same(answers.map(({ kind }) => kind), ['granted', 'granted'])
    }
  })
}
